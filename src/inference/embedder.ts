import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FeatureExtractionModel, LabelModel, ModelDescription } from '../models/description.ts';
import { EngineError } from './backend/engine-error.ts';
import { checkTexts } from './backend/limits.ts';
import type { RowResult, RunOptions } from './backend/types.ts';
import { defaultBudgetFile } from './batches/budget-memory.ts';
import { RowRunner } from './batches/row-runner.ts';
import type { Engine } from './engine/engine.ts';
import { vectorCutter } from './results/cut-vector.ts';
import { logitsSpec, type SessionOptions, sessionSpec } from './session-spec.ts';
import { LabelCollector } from './tasks/label-collector.ts';
import type { LabelResult } from './tasks/label-task.ts';
import { inParts, textsAtOnce } from './tasks/parts.ts';
import { Similarity } from './tasks/similarity.ts';
import type { LabelTaskOptions } from './tasks/task-options.ts';
import { labelTask } from './tasks/tasks.ts';
import { loadTokenizer, type TextTokenizer, type Tokenizer } from './tokenizer/tokenizer.ts';

export interface EmbedderOptions {
  readonly engine: Engine;
  /** Tokens in a batch, padding included. By default the best number for model and machine is found out. */
  readonly tokenBudget?: number | undefined;
  /** The file that keeps what was found out. Default: in the user's cache folder. */
  readonly budgetFile?: string | undefined;
  /** Called when the texts of one call are tokenized. */
  readonly onTokenized?: (report: TokenizedReport) => void;
}

/** How long it took to tokenize the texts of one call, the turns that others had meanwhile included. */
export interface TokenizedReport {
  readonly model: string;
  readonly texts: number;
  readonly ms: number;
}

export interface EmbedOptions extends SessionOptions, RunOptions {
  /** Put before each text; for a model's own see `ModelDescription.prompts`. */
  readonly prompt?: string | undefined;
  /** Numbers kept of each vector, the first ones: for models trained so (Matryoshka). Cut first, then scaled. */
  readonly dimensions?: number | undefined;
  /** Called as each batch is done, with the places of its rows in `texts` and their results, in the same order. */
  onBatch?(rows: readonly number[], results: readonly RowResult[]): void;
}

/** The options of the model's task (`TaskOptions`), and how to run it. */
export interface LabelOptions extends LabelTaskOptions, RunOptions {
  /** Called as texts are done, with their places in `texts` and their results, in the same order. */
  onBatch?(rows: readonly number[], results: readonly (LabelResult | EngineError)[]): void;
}

/**
 * Time after which tokenizing lets others have a turn, in ms: results that came meanwhile are taken and the engine
 * is given its next batch.
 */
const tokenizeSliceMs = 5;

/** From texts to vectors and labels: what the worker, the command line and the HTTP server use. */
export class Embedder {
  readonly #rows: RowRunner;
  readonly #onTokenized: ((report: TokenizedReport) => void) | undefined;
  /** By folder and limit: an entry is a few MB and takes 50 ms to make. */
  readonly #tokenizers = new Map<string, TextTokenizer>();
  readonly #similarity = new Similarity(this);

  constructor({ engine, tokenBudget, budgetFile = defaultBudgetFile(), onTokenized }: EmbedderOptions) {
    this.#rows = new RowRunner(engine, tokenBudget, budgetFile);
    this.#onTokenized = onTokenized;
  }

  /** The tokenizer of a model, loaded once. Raises UserError when it cannot be loaded. */
  tokenizer(description: ModelDescription): Tokenizer {
    return this.#textTokenizer(description);
  }

  /**
   * A vector for each text, in the texts' order, or the EngineError that this text alone caused.
   * Any string is taken; '' gives the vector of the special tokens, which says nothing.
   * Raises UserError for texts beyond the limits (`checkTexts`).
   * Rejects with an EngineError when the engine can do nothing for any of them (`load`, `start`, `stopped`); what
   * `onBatch` was given until then stays good.
   *
   * @example
   * const [vector] = await embedder.embedTexts(store.find('all-MiniLM-L6-v2', 'feature-extraction'), ['a cat']);
   */
  async embedTexts(
    description: FeatureExtractionModel,
    texts: readonly string[],
    options: EmbedOptions = {},
  ): Promise<RowResult[]> {
    if (options.ahead) checkTexts(texts);
    const tokenizer = this.tokenizer(description);
    const prompt = options.prompt ?? '';
    const sequences = await this.#tokenize(description, texts, (text) => tokenizer.encode(prompt + text));
    const results = new Array<RowResult>(texts.length);
    const session = sessionSpec(description, options);
    const cut = vectorCutter(session, options.dimensions);
    await this.#rows.run(session, sequences, options, (rows, uncut) => {
      const done = uncut.map(cut);
      rows.forEach((row, index) => {
        results[row] = done[index]!;
      });
      options.onBatch?.(rows, done);
    });
    return results;
  }

  /**
   * Labels for each text, in the texts' order, or the EngineError that this text alone caused. The options are those
   * of the model's task (`checkTaskOptions`). Any string is taken, and rejections are as with `embedTexts`.
   * Raises UserError when the options do not fit the task, or the texts the limits (`checkTexts`).
   *
   * @example
   * const model = store.find('pgembedder/minilm-spam-detector', 'text-classification');
   * const [result] = await embedder.labelTexts(model, ['You have won'], { top_k: 1 });
   */
  async labelTexts(
    description: LabelModel,
    texts: readonly string[],
    options: LabelOptions = {},
  ): Promise<(LabelResult | EngineError)[]> {
    const { ahead = false, behind = false, onBatch, ...taskOptions } = options;
    if (ahead) checkTexts(texts);
    if ('vectors' in description) {
      return this.#similarity.labelTexts(description, texts, taskOptions, { ahead, behind }, onBatch);
    }
    const atOnce = textsAtOnce(taskOptions);
    if (texts.length > atOnce) {
      return inParts(texts, atOnce, onBatch, (part, tellPart) =>
        this.labelTexts(description, part, { ...options, onBatch: tellPart }),
      );
    }
    const task = labelTask(description, this.#textTokenizer(description), taskOptions);
    const collected = new LabelCollector(
      await this.#tokenize(description, texts, (text) => errorOr(() => task(text))),
    );
    const tell = (finished: readonly number[]) => {
      if (finished.length > 0) {
        onBatch?.(
          finished,
          finished.map((text) => collected.results[text]!),
        );
      }
    };
    tell(collected.failed);
    await this.#rows.run(logitsSpec(description), collected.sequences, { ahead, behind }, (rows, done) =>
      tell(collected.add(rows, done)),
    );
    return collected.results;
  }

  async #tokenize<Result>(
    { name }: ModelDescription,
    texts: readonly string[],
    each: (text: string) => Result,
  ): Promise<Result[]> {
    const begin = performance.now();
    const results = await inSlices(texts, each);
    this.#onTokenized?.({ model: name, texts: texts.length, ms: performance.now() - begin });
    return results;
  }

  #textTokenizer(description: ModelDescription): TextTokenizer {
    const key = `${description.directory}#${description.maxTokens}#${description.expectedSha256}`;
    const tokenizer = this.#tokenizers.get(key) ?? loadTokenizer(description);
    this.#tokenizers.set(key, tokenizer);
    return tokenizer;
  }
}

/** Does something with each text, letting others have a turn now and then. */
async function inSlices<Result>(texts: readonly string[], each: (text: string) => Result): Promise<Result[]> {
  const results: Result[] = [];
  let turn = performance.now();
  for (const text of texts) {
    results.push(each(text));
    if (performance.now() - turn > tokenizeSliceMs) {
      await nextTurn();
      turn = performance.now();
    }
  }
  return results;
}

/** What a function gives, or the EngineError it raises. */
function errorOr<Result>(make: () => Result): Result | EngineError {
  try {
    return make();
  } catch (error) {
    if (error instanceof EngineError) return error;
    throw error;
  }
}

/** What the worker needs of an Embedder; benchmarks of the queue alone give one that answers at once. */
export type TextEmbedder = Pick<Embedder, 'embedTexts' | 'labelTexts' | 'tokenizer'>;
