import pRetry from 'p-retry';
import type { Endpoint } from '../../endpoints/endpoint.ts';
import { UserError } from '../../errors.ts';
import { EngineError } from '../backend/engine-error.ts';
import type { CallOptions, SequenceResult } from '../backend/run.ts';
import { apis } from './apis/apis.ts';
import type { EndpointModel } from './endpoint-model.ts';
import { Passing, Refused, stopped, TooMany, Unreachable } from './failures.ts';
import { Gate, PATIENCE_MS, type WaitReason } from './gate.ts';
import { HttpClient } from './http-client.ts';
import { readJson, readVectors } from './read-vectors.ts';
import { requireSuccess } from './replies.ts';
import { estimateTokens, type SentText } from './sent-text.ts';

/** How often a request is sent again that may go well the next time, and the waits before. */
const RETRIES = { retries: 2, minTimeout: 250, maxTimeout: 2_000, randomize: true };

/** Where a server does not say how long it is busy: the first wait and the longest, in ms; doubled each time. */
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;

/** Bytes of an answer for each number, as JSON writes it with all its digits; and around the vectors. */
const BYTES_PER_NUMBER = 40;
const BYTES_AROUND = 100_000;

/** A text that every model takes. Asked alone, it tells whether the server or other texts are to blame. */
const HARMLESS = 'a small cat';

/** What is told of an endpoint. */
export interface EndpointListener {
  /** A request was sent. @param outcome its status, `timeout`, `broken` or `unreachable` */
  onRequest(outcome: string): void;
  /** Tokens that the server has counted, or about as many as there were. */
  onTokens(model: EndpointModel, tokens: number): void;
  onWait(reason: WaitReason, ms: number): void;
}

/** How a batch is to be asked for. */
export interface AskOptions extends CallOptions {
  readonly normalize: boolean;
}

/** The vectors of a batch, and what they took. */
export interface Asked {
  readonly results: SequenceResult[];
  readonly tokens: number;
  readonly waitMs: number;
  readonly runMs: number;
}

/**
 * Asks one endpoint, within its limits. What goes wrong is tried again where that may help; then it is found out whom it concerns:
 *
 * - the server wants nothing now (429, 503): nobody, all wait (`later`);
 * - it cannot be reached, refuses the key or does not know the model: the model (`start`, `load`);
 * - anything else: it is asked for a text that is known to be good. If it fails at that as well, it is the server, so the model
 *   (`start`, `load`); else it is one of the texts, and the batch is halved (`run`, `died`, `timeout`).
 */
export class EndpointClient {
  readonly endpoint: Endpoint;
  readonly #listener: EndpointListener;
  readonly #http: HttpClient;
  readonly #gate: Gate;
  readonly #abort = new AbortController();
  /** Answers of 429 or 503 since the last good one. */
  #refusals = 0;

  constructor(endpoint: Endpoint, listener: EndpointListener) {
    this.endpoint = endpoint;
    this.#listener = listener;
    const { concurrent_requests, timeout_seconds } = endpoint.limits;
    this.#http = new HttpClient(endpoint.url, {
      ...{ connections: concurrent_requests, timeoutMs: timeout_seconds * 1_000 },
    });
    this.#gate = new Gate(endpoint.name, endpoint.limits, (reason, ms) => listener.onWait(reason, ms));
  }

  /** @throws EngineError when there is nothing for any of the texts */
  async ask(model: EndpointModel, texts: readonly SentText[], options: AskOptions): Promise<Asked> {
    const { priority = 'normal' } = options;
    const begin = performance.now();
    const tokens = texts.reduce((sum, text) => sum + text.tokens, 0);
    const deadline = Date.now() + (priority === 'interactive' ? PATIENCE_MS : 0);
    for (;;) {
      try {
        return await this.#gate.pass({ priority, tokens }, async () => {
          const started = performance.now();
          const answered = await this.#askFairly(model, texts, tokens, options);
          return { ...answered, waitMs: started - begin, runMs: performance.now() - started };
        });
      } catch (error) {
        const soon = error instanceof EngineError && error.until !== undefined && error.until <= deadline;
        if (!soon) throw error;
      }
    }
  }

  /** Refuses what waits. What runs may end within `graceMs`. */
  async stop(graceMs: number, idle: Promise<unknown>): Promise<void> {
    this.#gate.stop();
    const timer = setTimeout(() => this.#abort.abort(), graceMs);
    await idle;
    clearTimeout(timer);
    await this.#http.close();
  }

  async #askFairly(model: EndpointModel, texts: readonly SentText[], tokens: number, options: AskOptions) {
    const sent = texts.map(({ text }) => text);
    try {
      return await pRetry((attempt) => this.#send(model, sent, tokens, options.normalize, attempt > 1), {
        ...RETRIES,
        // Halves of a batch that has failed: it was tried often enough.
        retries: options.alone ? 0 : RETRIES.retries,
        signal: this.#abort.signal,
        shouldRetry: ({ error }) => (error instanceof Passing ? error.again : error instanceof Unreachable),
      });
    } catch (error) {
      if (this.#abort.signal.aborted) throw stopped(this.endpoint.name);
      if (error instanceof Refused) {
        if (!options.alone) await this.#requireSound(model);
        throw this.#refusal('run', `takes a text not: ${error.message}`);
      }
      if (error instanceof Passing) {
        await this.#requireSound(model);
        throw this.#refusal(error.kind, `has no answer for a text: ${error.message}`);
      }
      throw this.#judged(error);
    }
  }

  /** @throws EngineError unless the server gives a vector for a text that is known to be good */
  async #requireSound(model: EndpointModel): Promise<void> {
    try {
      await this.#send(model, [HARMLESS], estimateTokens(HARMLESS), true, true);
    } catch (error) {
      if (this.#abort.signal.aborted) throw stopped(this.endpoint.name);
      if (error instanceof Refused || error instanceof Passing) {
        const hint = 'Check that the server works, and url, api and models of the endpoint';
        const kind = error instanceof Refused ? 'load' : 'start';
        throw this.#refusal(kind, `gives no vector for '${HARMLESS}' either: ${error.message}`, hint);
      }
      throw this.#judged(error);
    }
  }

  /** The error for what concerns no text. */
  #judged(error: unknown): unknown {
    if (error instanceof TooMany) return this.#gate.closedError();
    if (error instanceof Unreachable) {
      return this.#refusal(
        'start',
        `cannot be used: ${error.message}`,
        'Check that the server runs, and its url',
      );
    }
    if (error instanceof UserError && !(error instanceof EngineError)) {
      return new EngineError('load', error.message, { hint: error.hint, cause: error });
    }
    return error;
  }

  #refusal(kind: 'load' | 'start' | 'run' | Passing['kind'], what: string, hint?: string): EngineError {
    return new EngineError(kind, `Endpoint '${this.endpoint.name}' ${what}`, { hint });
  }

  /** Sends one request. @throws Passing, Refused, Unreachable, TooMany, UserError */
  async #send(
    model: EndpointModel,
    texts: readonly string[],
    tokens: number,
    normalize: boolean,
    again: boolean,
  ): Promise<{ results: SequenceResult[]; tokens: number }> {
    const { endpoint, nameThere, dimensions } = model;
    const api = apis[endpoint.api];
    if (again) this.#gate.charge(tokens);
    const headers = endpoint.authorization();
    const question = { model: nameThere, texts, normalize, encoding: endpoint.encoding };
    const answer = await this.#http
      .post(api.path, api.body(question), {
        headers,
        mostBytes: texts.length * dimensions * BYTES_PER_NUMBER + BYTES_AROUND,
        signal: this.#abort.signal,
      })
      .catch((error: unknown) => {
        this.#listener.onRequest(outcomeOf(error));
        throw error;
      });
    this.#listener.onRequest(String(answer.status));
    try {
      requireSuccess(answer, model, secretsOf(headers));
    } catch (error) {
      if (error instanceof TooMany) this.#close(error);
      throw error;
    }
    const { vectors, tokens: counted } = api.read(readJson(answer.body), answer.headers, texts.length);
    const results = readVectors(vectors, dimensions, normalize);
    this.#refusals = 0;
    if (counted !== null) this.#gate.correct(tokens, counted);
    this.#listener.onTokens(model, counted ?? tokens);
    return { results, tokens: counted ?? tokens };
  }

  #close({ status, waitMs }: TooMany): void {
    const ownMs = Math.min(FIRST_WAIT_MS * 2 ** this.#refusals++, LONGEST_WAIT_MS);
    this.#gate.close(status === 429 ? 429 : 503, waitMs ?? ownMs);
  }
}

function outcomeOf(error: unknown): string {
  if (error instanceof Unreachable) return 'unreachable';
  return error instanceof Passing && error.kind === 'timeout' ? 'timeout' : 'broken';
}

/** What must not be shown of a request's headers. */
function secretsOf(headers: Readonly<Record<string, string>>): string[] {
  return Object.values(headers).map((value) => value.replace(/^Bearer /, ''));
}
