import type { Logger } from 'pino';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { UserError } from '../errors.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import { chooseDevice } from '../inference/devices/resolve-device.ts';
import type { Embedder } from '../inference/embedder.ts';
import { type EngineSettings, openEmbedder } from '../inference/open-embedder.ts';
import type { Pooling } from '../model-files/description.ts';
import { parseChoice } from '../models/choice.ts';
import { modelsDirectory } from '../models/places.ts';
import type { SparseVector } from '../sparse-vector.ts';
import { featureExtraction } from '../tasks/feature-extraction.ts';
import type { LabelResult } from '../tasks/results.ts';
import type { LabelTaskOptions, RankTaskOptions } from '../tasks/task-options.ts';
import { labelTaskFor } from '../tasks/tasks.ts';
import { textRanking } from '../tasks/text-ranking.ts';
import { standardLogger } from './logger.ts';

/** Settings of an embedder, all of them optional. */
export interface EmbedderSettings {
  /** Folders of models, searched before the bundled ones. Default: where `pgembedder models pull` puts them. */
  readonly modelDirectories?: readonly string[];
  /** What runs the models: 'auto' (default), 'cpu', 'cuda', 'cuda:1', 'webgpu', 'coreml' or 'dml'. */
  readonly device?: string;
  /** Engine processes, their memory and their end. */
  readonly engine?: EngineSettings;
  /** Servers elsewhere that run models, as `readEndpoints` gives them. Default: none. */
  readonly endpoints?: readonly Endpoint[];
  /** A pino logger. Default: what is wrong, on stderr. */
  readonly logger?: Logger;
}

/** How texts become vectors. */
export interface EmbedSettings {
  /** Whether texts are queries or what is searched in: which of the model's prompts is put before them. Default: 'passage'. */
  readonly inputType?: 'query' | 'passage';
  /** Put before each text instead of the model's own prompt. */
  readonly prompt?: string;
  /** Numbers kept of each vector, the first ones, for models trained so. */
  readonly dimensions?: number;
  readonly pooling?: Pooling;
  readonly normalize?: boolean;
}

/** How texts become sparse vectors. */
export interface SparseSettings extends Pick<EmbedSettings, 'inputType' | 'prompt'> {
  /** Numbers kept of each vector, the largest ones. Default: all. */
  readonly topK?: number;
}

/** A text that was compared with a query. */
export interface RankedText {
  /** Its place among the texts that were given, from 0. */
  readonly index: number;
  /** The higher the better; from 0 to 1 for most models. */
  readonly score: number;
}

/** From texts to vectors, labels and scores, in an application. Made by `createEmbedder`. */
export interface TextModels {
  /**
   * A vector for each text, in their order. `model` is a catalog name or ORG/NAME, with `:variant` for one of its variants.
   * @throws UserError when the model is not here or not for this, EngineError when a text cannot be embedded
   */
  embed(model: string, texts: readonly string[], settings?: EmbedSettings): Promise<Float32Array[]>;
  /**
   * The same by a model whose vectors are sparse (SPLADE): for each text the tokens of the vocabulary that stand for it, with their weights.
   * @throws UserError when the model is not here or its vectors are dense, EngineError when a text cannot be embedded
   */
  embedSparse(model: string, texts: readonly string[], settings?: SparseSettings): Promise<SparseVector[]>;
  /**
   * Labels or entities for each text, in their order. A model that gives vectors takes zero-shot's options.
   * @throws UserError when model or options do not fit, EngineError when a text cannot be classified
   */
  classify(model: string, texts: readonly string[], options?: LabelTaskOptions): Promise<LabelResult[]>;
  /**
   * The texts in the order of how well they answer a query, by a cross-encoder. A pair that is too long is cut, the longer text
   * first.
   * @throws UserError when the model is not here or not for this, EngineError when a text cannot be ranked
   */
  rerank(
    model: string,
    query: string,
    texts: readonly string[],
    options?: RankTaskOptions,
  ): Promise<RankedText[]>;
  /** How many tokens each text has for a model, special tokens not counted and without a limit. @throws UserError */
  countTokens(model: string, texts: readonly string[]): number[];
  /** Ends the processes that hold the models. */
  close(): Promise<void>;
}

/**
 * Makes an embedder, which turns texts into vectors and labels. A model's processes start with its first text; `close` ends
 * them.
 *
 * @example
 * const models = await createEmbedder();
 * const [vector] = await models.embed('all-MiniLM-L6-v2', ['how do I get my money back'], { inputType: 'query' });
 * await models.close();
 * @throws UserError when the device does not work
 */
export async function createEmbedder(settings: EmbedderSettings = {}): Promise<TextModels> {
  const { modelDirectories = [modelsDirectory()], device: wanted = 'auto' } = settings;
  const logger = settings.logger ?? standardLogger();
  const device = await chooseDevice(wanted, { logger });
  return new EmbedderModels(
    openEmbedder({
      ...{ logger, device, directories: modelDirectories },
      ...{ engine: settings.engine, endpoints: settings.endpoints },
    }),
  );
}

class EmbedderModels implements TextModels {
  readonly #embedder: Embedder;

  constructor(embedder: Embedder) {
    this.#embedder = embedder;
  }

  async embed(
    name: string,
    texts: readonly string[],
    { inputType = 'passage', prompt, ...settings }: EmbedSettings = {},
  ): Promise<Float32Array[]> {
    const choice = parseChoice(name);
    const model = this.#embedder.find(choice.name, featureExtraction.name, choice);
    return withoutErrors(
      await this.#embedder.embedTexts(model, texts, {
        ...settings,
        prompt: prompt ?? model.prompts[inputType],
        priority: inputType === 'query' ? 'interactive' : 'normal',
      }),
    );
  }

  async embedSparse(
    name: string,
    texts: readonly string[],
    { inputType = 'passage', prompt, topK }: SparseSettings = {},
  ): Promise<SparseVector[]> {
    if (topK !== undefined && !(Number.isSafeInteger(topK) && topK > 0))
      throw new UserError(`topK is ${topK}, and must be a whole number from 1 on`);
    const choice = parseChoice(name);
    const model = this.#embedder.find(choice.name, featureExtraction.name, choice);
    return withoutErrors(
      await this.#embedder.embedSparse(model, texts, {
        topK,
        prompt: prompt ?? model.prompts[inputType],
        priority: inputType === 'query' ? 'interactive' : 'normal',
      }),
    );
  }

  async classify(
    name: string,
    texts: readonly string[],
    options: LabelTaskOptions = {},
  ): Promise<LabelResult[]> {
    const choice = parseChoice(name);
    const found = this.#embedder.find(choice.name, undefined, choice);
    const model = this.#embedder.find(choice.name, labelTaskFor(found.task), choice);
    return withoutErrors(await this.#embedder.labelTexts(model, texts, options));
  }

  async rerank(
    name: string,
    query: string,
    texts: readonly string[],
    options: RankTaskOptions = {},
  ): Promise<RankedText[]> {
    const choice = parseChoice(name);
    const model = this.#embedder.find(choice.name, textRanking.name, choice);
    const scores = withoutErrors(
      await this.#embedder.rankTexts(model, query, texts, { ...options, priority: 'interactive' }),
    );
    return scores.map((score, index) => ({ index, score })).sort((a, b) => b.score - a.score);
  }

  countTokens(name: string, texts: readonly string[]): number[] {
    const choice = parseChoice(name);
    const tokenizer = this.#embedder.tokenizer(this.#embedder.find(choice.name, undefined, choice));
    return texts.map((text) => tokenizer.count(text));
  }

  close(): Promise<void> {
    return this.#embedder.stop();
  }
}

/** @throws EngineError the first among the results */
function withoutErrors<Result>(results: readonly (Result | EngineError)[]): Result[] {
  return results.map((result) => {
    if (result instanceof EngineError) throw result;
    return result;
  });
}
