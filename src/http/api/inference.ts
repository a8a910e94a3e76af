import { UserError } from '../../errors.ts';
import { EngineError, type EngineErrorKind } from '../../inference/backend/engine-error.ts';
import type {
  LabelModel,
  LogitsModel,
  Pooling,
  ServedModel,
  VectorModel,
} from '../../model-files/description.ts';
import type { SparseVector } from '../../sparse-vector.ts';
import type { LabelResult } from '../../tasks/results.ts';
import { checkTaskOptions, type LabelTaskOptions } from '../../tasks/task-options.ts';
import type { TokenIds } from '../../tasks/text-tokenizer.ts';
import { zeroShotClassification } from '../../tasks/zero-shot-classification.ts';
import { HttpError, type RefusalStatus } from './http-error.ts';
import { Line } from './line.ts';
import type { RequestedModels } from './models.ts';
import { countTokens } from './tokens.ts';

/** A text, or the ids of its tokens. */
export type Input = string | readonly number[];

/** Which of the model's prompts is put before texts. */
export type InputType = 'query' | 'passage';

export interface EmbedRequest {
  readonly model: VectorModel;
  readonly inputs: readonly Input[];
  /** Null for none. */
  readonly inputType: InputType | null;
  readonly dimensions?: number | undefined;
  /** Default: what the model's authors chose. */
  readonly pooling?: Pooling | undefined;
  readonly normalize?: boolean | undefined;
  /** Whether a text may be cut at the model's limit; else one that is longer is refused. */
  readonly truncate: boolean;
  readonly signal: AbortSignal;
}

export interface SparseRequest extends Pick<EmbedRequest, 'model' | 'inputType' | 'truncate' | 'signal'> {
  readonly texts: readonly string[];
  /** Numbers kept of each vector, the largest ones. Default: all. */
  readonly topK?: number | undefined;
}

export interface LabelRequest {
  readonly model: LabelModel;
  readonly texts: readonly string[];
  readonly options: LabelTaskOptions;
  readonly signal: AbortSignal;
}

export interface RankRequest {
  readonly model: LogitsModel;
  readonly query: string;
  readonly texts: readonly string[];
  readonly rawScores: boolean;
  /** Whether a pair may be cut at the model's limit; else one that is longer is refused. */
  readonly truncate: boolean;
  readonly signal: AbortSignal;
}

/** What an error of the engine means to whoever has sent the texts. */
const STATUSES: Record<EngineErrorKind, RefusalStatus> = {
  load: 503,
  start: 503,
  run: 422,
  died: 422,
  timeout: 422,
  memory: 422,
  'not-finite': 422,
  stopped: 503,
  busy: 429,
  later: 429,
};

/** Runs models for requests, in the line. */
export class Inference {
  readonly models: RequestedModels;
  readonly line: Line;

  constructor(models: RequestedModels, line = new Line()) {
    this.models = models;
    this.line = line;
  }

  /** The vectors of texts, and how many tokens the texts have. @throws HttpError, ClientGone */
  async embed(request: EmbedRequest): Promise<{ vectors: Float32Array[]; tokens: number }> {
    const { model, inputType, dimensions, pooling, normalize } = request;
    if (dimensions !== undefined && dimensions > model.dimensions) {
      throw new HttpError(
        400,
        `dimensions is ${dimensions}, and vectors of '${model.name}' have ${model.dimensions}`,
        { param: 'dimensions' },
      );
    }
    const { embedder } = this.models;
    const prompt = promptOf(model, inputType);
    const texts = request.inputs.map((input) => this.#textOf(model, input));
    const options = { prompt, dimensions, pooling, normalize, priority: 'interactive' } as const;
    let tokens = 0;
    const vectors = await this.#inLine(
      model,
      texts,
      (text) => estimate(prompt.length + text.length, model.maxTokens),
      (part) => {
        for (const text of part) tokens += this.#count(model, prompt + text, request.truncate);
        return embedder.embedTexts(model, part, options);
      },
      request.signal,
    ).catch((error: unknown) => {
      throw normalize === false ? notFinished(model, error) : error;
    });
    return { vectors, tokens };
  }

  /** The sparse vectors of texts. @throws HttpError, ClientGone */
  async embedSparse(request: SparseRequest): Promise<SparseVector[]> {
    const { model, texts, inputType, topK } = request;
    const prompt = promptOf(model, inputType);
    return this.#inLine(
      model,
      texts,
      (text) => estimate(prompt.length + text.length, model.maxTokens),
      (part) => {
        for (const text of part) this.#count(model, prompt + text, request.truncate);
        return this.models.embedder.embedSparse(model, part, { prompt, topK, priority: 'interactive' });
      },
      request.signal,
    );
  }

  /** Labels, or entities, of texts. @throws HttpError, ClientGone */
  async label({ model, texts, options, signal }: LabelRequest): Promise<LabelResult[]> {
    try {
      checkTaskOptions(model.task, options);
    } catch (error) {
      throw refusalOf(error);
    }
    const { embedder } = this.models;
    const rows =
      model.task === zeroShotClassification.name && !('vectors' in model) ? options.labels!.length : 1;
    return this.#inLine(
      model,
      texts,
      (text) => rows * estimate(text.length, model.maxTokens),
      (part) => embedder.labelTexts(model, part, { ...options, priority: 'interactive' }),
      signal,
    );
  }

  /** How well texts answer a query, and how many tokens all pairs have. @throws HttpError, ClientGone */
  async rank(request: RankRequest): Promise<{ scores: number[]; tokens: number }> {
    const { model, query, texts } = request;
    const { embedder } = this.models;
    const options = { raw_scores: request.rawScores, priority: 'interactive' } as const;
    const inQuery = countTokens(embedder.tokenizer(model), query);
    let tokens = 0;
    const scores = await this.#inLine(
      model,
      texts,
      (text) => estimate(query.length + text.length, model.maxTokens),
      (part) => {
        for (const text of part) {
          const inText = countTokens(embedder.tokenizer(model), text);
          const together = inQuery.tokens + inText.tokens;
          if (!request.truncate && (inQuery.more || inText.more || together > model.maxTokens))
            throw tooLong(model, 'The query and a text have');
          tokens += Math.min(together, model.maxTokens);
        }
        return embedder.rankTexts(model, query, part, options);
      },
      request.signal,
    );
    return { scores, tokens };
  }

  /** The tokens that the model reads of a text. Where they stand in it is not said. */
  tokenize(model: VectorModel, text: string, special: boolean) {
    const tokens = this.#idsOf(model);
    const around = new Set(tokens.encode(''));
    return tokens
      .encode(text)
      .filter((id) => special || !around.has(id))
      .map((id) => ({ id, text: tokens.decode([id]), special: around.has(id), start: null, stop: null }));
  }

  async #inLine<Result>(
    model: VectorModel | LabelModel,
    texts: readonly string[],
    tokensOf: (text: string) => number,
    run: (part: readonly string[]) => Promise<readonly (Result | EngineError)[]>,
    signal: AbortSignal,
  ): Promise<Result[]> {
    try {
      const results = await this.line.run<string, Result | EngineError>({
        model: model.name,
        items: texts,
        tokensOf,
        // Also what is thrown before there is a promise.
        run: async (part) => run(part),
        signal,
      });
      return results.map((result, place) => {
        if (result instanceof EngineError) throw refusalOf(result, texts.length > 1 ? place : null);
        return result;
      });
    } catch (error) {
      throw error instanceof UserError ? refusalOf(error) : error;
    }
  }

  #textOf(model: VectorModel, input: Input): string {
    if (typeof input === 'string') return input;
    try {
      return this.#idsOf(model).decode(input);
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
      throw new HttpError(400, error.line, { param: 'input', code: 'unknown_token' });
    }
  }

  /** @throws HttpError 422 where they are not known */
  #idsOf(model: VectorModel): TokenIds {
    const { ids } = this.models.embedder.tokenizer(model);
    if (!ids) throw new HttpError(422, `The tokens of '${model.name}' are not known here: send texts`);
    return ids;
  }

  #count(model: VectorModel, text: string, truncate: boolean): number {
    const { tokens, more } = countTokens(this.models.embedder.tokenizer(model), text);
    if (more && !truncate) throw tooLong(model, 'A text has');
    return tokens;
  }
}

function tooLong({ name, maxTokens }: ServedModel, what: string): HttpError {
  return new HttpError(422, `${what} more tokens than the ${maxTokens} that '${name}' takes`, {
    code: 'context_length_exceeded',
  });
}

/** Where a model cannot be loaded so: some give vectors that are finished already. */
function notFinished(model: VectorModel, error: unknown): unknown {
  if (!(error instanceof HttpError) || error.details.code !== 'engine_load') return error;
  return new HttpError(
    422,
    `The vectors of '${model.name}' cannot be had with normalize false: leave it out`,
    {
      ...{ param: 'normalize', code: 'normalize_unsupported', cause: error },
    },
  );
}

/** What is put before each text. */
export function promptOf(model: VectorModel, inputType: InputType | null): string {
  return inputType === null ? '' : model.prompts[inputType];
}

/** English has 4 to 5 characters a token; two special ones are put around. */
function estimate(characters: number, maxTokens: number): number {
  return Math.min(Math.ceil(characters / 4) + 2, maxTokens);
}

/** Whole seconds from now; at least one. @param until in ms since 1970 */
function secondsUntil(until = 0): number {
  return Math.max(1, Math.ceil((until - Date.now()) / 1_000));
}

/** @param place of the text that is at fault, among several */
function refusalOf(error: unknown, place: number | null = null): unknown {
  if (!(error instanceof UserError)) return error;
  const which = place === null ? '' : `Text ${place + 1}: `;
  if (!(error instanceof EngineError)) return new HttpError(422, which + error.line, { cause: error });
  const status = STATUSES[error.kind];
  const code = `engine_${error.kind.replace('-', '_')}`;
  // What is wrong with this server or its models is told by its log, with the names of its folders.
  if (error.kind === 'load' || error.kind === 'start') {
    return new HttpError(status, "The model cannot be run: the server's log says why", {
      code,
      cause: error,
    });
  }
  return new HttpError(status, which + error.line, {
    code,
    cause: error,
    retryAfter: status === 422 ? undefined : secondsUntil(error.until),
  });
}
