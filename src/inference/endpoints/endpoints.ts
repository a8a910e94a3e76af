import { EventEmitter } from 'node:events';
import type { Endpoint } from '../../endpoints/endpoint.ts';
import { UserError } from '../../errors.ts';
import type { RunnableModel, ServedModel } from '../../model-files/description.ts';
import { CPU_VARIANTS } from '../../model-files/variants.ts';
import { didYouMean } from '../../nearest.ts';
import { taskNamed } from '../../tasks/tasks.ts';
import type { TextTokenizer } from '../../tasks/text-tokenizer.ts';
import type { Backend, PipelineUse } from '../backend/backend.ts';
import type { BackendEvents } from '../backend/events.ts';
import type { CallOptions, SequenceResult } from '../backend/run.ts';
import type { BackendSession, SessionOptions } from '../backend/session.ts';
import type { EndpointClient } from './endpoint-client.ts';
import { describeModel, type EndpointModel } from './endpoint-model.ts';
import { type SentText, tokenizerOf } from './sent-text.ts';

/** Most tokens of a request, since the number of texts says little about its size; OpenAI takes 300,000. */
const REQUEST_TOKENS = 100_000;

/** A model of an endpoint, and whether its vectors are scaled. */
interface EndpointSession extends BackendSession {
  readonly normalize: boolean;
  readonly of: EndpointModel;
}

/**
 * Models that servers elsewhere run: those that the operator has listed, and no others. Their names are
 * `endpoint:model`. It sends nothing before the first text.
 */
export class Endpoints
  extends EventEmitter<BackendEvents>
  implements Backend<EndpointModel, EndpointSession, SentText>
{
  readonly sessions = [];
  readonly #endpoints: ReadonlyMap<string, Endpoint>;
  readonly #clients = new Map<string, Promise<EndpointClient>>();
  readonly #tokenizers = new Map<string, TextTokenizer<SentText>>();
  readonly #running = new Set<Promise<unknown>>();

  constructor(endpoints: readonly Endpoint[]) {
    super();
    this.#endpoints = new Map(endpoints.map((endpoint) => [endpoint.name, endpoint]));
  }

  find(name: string, task: string | undefined): ServedModel | undefined {
    const colon = name.indexOf(':');
    if (colon < 0) return undefined;
    const [before, after] = [name.slice(0, colon), name.slice(colon + 1)];
    const endpoint = this.#endpoints.get(before);
    if (!endpoint) throw noEndpoint(name, before, after, [...this.#endpoints.keys()]);
    const listed = endpoint.models.find((model) => model.name === after);
    if (!listed) {
      const names = endpoint.models.map((model) => model.name);
      throw new UserError(`Endpoint '${before}' has no model '${after}'`, {
        hint: `${didYouMean(after, names)}It is listed with ${names.join(', ')}`,
      });
    }
    const model = describeModel(endpoint, listed);
    if (task === undefined || task === model.task) return model;
    const { adapts, advice } = taskNamed(task);
    // What takes a model on this machine by its vectors takes this one.
    const adapt = adapts[model.task] as ((model: RunnableModel) => ServedModel) | undefined;
    if (!adapt)
      throw new UserError(`Model '${name}' is for ${model.task}, not for ${task}`, { hint: advice });
    return adapt(model);
  }

  runs(model: RunnableModel): model is EndpointModel {
    return 'endpoint' in model;
  }

  admit({ name, endpoint, tokenizer }: EndpointModel, { pipeline, chunking, pooling }: PipelineUse): void {
    if (endpoint.pipelines && !endpoint.pipelines.includes(pipeline)) {
      throw new UserError(`Pipeline "${pipeline}" may not use endpoint '${endpoint.name}'`, {
        hint: 'The operator of the worker says which ones may, in the file that PGEMBEDDER_ENDPOINTS names',
      });
    }
    if (chunking === 'tokens' && tokenizer === undefined) {
      throw new UserError(
        `The chunking strategy tokens needs the tokenizer of '${name}', and none is listed`,
        {
          hint: 'Use the strategy recursive or markdown, or name its tokenizer in the file of endpoints',
        },
      );
    }
    if (pooling !== undefined) throw noPooling(name);
  }

  tokenizer(model: EndpointModel): TextTokenizer<SentText> {
    const tokenizer = this.#tokenizers.get(model.name) ?? tokenizerOf(model);
    this.#tokenizers.set(model.name, tokenizer);
    return tokenizer;
  }

  tokensOf({ tokens }: SentText): number {
    return tokens;
  }

  identityOf({ text }: SentText): string {
    return text;
  }

  open(model: EndpointModel, { normalize = true, pooling }: SessionOptions = {}): EndpointSession {
    if (pooling !== undefined) throw noPooling(model.name);
    return { key: model.name, model: model.name, normalize, of: model };
  }

  planOf({ of: { endpoint } }: EndpointSession) {
    const { inputs_per_request, tokens_per_minute = REQUEST_TOKENS } = endpoint.limits;
    return { tokenBudget: Math.min(REQUEST_TOKENS, tokens_per_minute), mostSequences: inputs_per_request };
  }

  run(
    session: EndpointSession,
    texts: readonly SentText[],
    options: CallOptions = {},
  ): Promise<SequenceResult[]> {
    if (texts.length === 0) return Promise.resolve([]);
    const run = this.#ask(session, texts, options);
    this.#running.add(run);
    run.catch(() => {}).finally(() => this.#running.delete(run));
    return run;
  }

  async stop(graceMs = 0): Promise<void> {
    const idle = Promise.allSettled(this.#running);
    const clients = await Promise.all(this.#clients.values());
    await Promise.all(clients.map((client) => client.stop(graceMs, idle)));
  }

  async #ask(
    { key, of: model, normalize }: EndpointSession,
    texts: readonly SentText[],
    options: CallOptions,
  ): Promise<SequenceResult[]> {
    const client = await this.#clientOf(model.endpoint);
    const { results, tokens, ...times } = await client.ask(model, texts, { ...options, normalize });
    this.emit('batch', {
      ...{ session: key, model: model.name, priority: options.priority ?? 'normal' },
      ...{ rows: texts.length, tokens, paddedTokens: tokens, ...times },
    });
    return results;
  }

  #clientOf(endpoint: Endpoint): Promise<EndpointClient> {
    const { name } = endpoint;
    const client = this.#clients.get(name) ?? this.#connect(endpoint);
    this.#clients.set(name, client);
    return client;
  }

  async #connect(endpoint: Endpoint): Promise<EndpointClient> {
    const { name } = endpoint;
    // Only now: it loads an HTTP client, and most workers have no endpoints.
    const { EndpointClient } = await import('./endpoint-client.ts');
    return new EndpointClient(endpoint, {
      onRequest: (outcome) => this.emit('request', { endpoint: name, outcome }),
      onTokens: (model, tokens) => this.emit('counted', { endpoint: name, model: model.name, tokens }),
      onWait: (reason, ms) => this.emit('wait', { endpoint: name, reason, ms }),
    });
  }
}

function noPooling(name: string): UserError {
  return new UserError(`Model '${name}' runs on a server, which does the pooling itself`, {
    hint: 'Leave the option pooling out',
  });
}

function noEndpoint(name: string, before: string, after: string, endpoints: readonly string[]): UserError {
  const listed =
    endpoints.length === 0 ? 'PGEMBEDDER_ENDPOINTS lists none' : `There are ${endpoints.join(', ')}`;
  return new UserError(`There is no model '${name}': '${before}' is no endpoint, and '${after}' no variant`, {
    hint: `${didYouMean(before, endpoints)}${listed}; the variants are ${CPU_VARIANTS.join(', ')}`,
  });
}
