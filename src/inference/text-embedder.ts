import type {
  FindOptions,
  LabelModel,
  LogitsModel,
  ServedModel,
  VectorModel,
} from '../model-files/description.ts';
import type { SparseVector } from '../sparse-vector.ts';
import type { LabelResult } from '../tasks/results.ts';
import type { LabelTaskOptions, RankTaskOptions } from '../tasks/task-options.ts';
import type { ServedModelOf, TaskName } from '../tasks/tasks.ts';
import type { Tokenizer } from '../tasks/text-tokenizer.ts';
import type { PipelineUse } from './backend/backend.ts';
import type { EngineError } from './backend/engine-error.ts';
import type { RunOptions, SequenceResult } from './backend/run.ts';
import type { SessionOptions } from './backend/session.ts';

/** How long it took to tokenize the texts of one call, the turns that others had meanwhile included. */
export interface TokenizedReport {
  readonly model: string;
  readonly texts: number;
  readonly ms: number;
}

/** A text of a call, by its place there, and its result. */
export interface DoneText<Result> {
  readonly place: number;
  readonly result: Result | EngineError;
}

export interface EmbedOptions extends SessionOptions, RunOptions {
  /** Put before each text; for a model's own see `VectorModel.prompts`. */
  readonly prompt?: string | undefined;
  /** Numbers kept of each vector, the first ones: for models trained so (Matryoshka). Cut first, then scaled. */
  readonly dimensions?: number | undefined;
  /** Called as each batch is done, with its texts. */
  onBatch?(done: readonly DoneText<Float32Array>[]): void;
}

export interface SparseOptions extends RunOptions {
  /** Put before each text; for a model's own see `VectorModel.prompts`. */
  readonly prompt?: string | undefined;
  /** Numbers kept of each vector, the largest ones. Default: all. */
  readonly topK?: number | undefined;
  /** Called as each batch is done, with its texts. */
  onBatch?(done: readonly DoneText<SparseVector>[]): void;
}

/** The options of the model's task (`TaskOptions`), and how to run it. */
export interface LabelOptions extends LabelTaskOptions, RunOptions {
  /** Called as texts are done. */
  onBatch?(done: readonly DoneText<LabelResult>[]): void;
}

/** How texts are compared with a query (`RankTaskOptions`). */
export interface RankOptions extends RankTaskOptions, RunOptions {}

/**
 * What the worker, the command line, the library and the HTTP server need: models by name, their vectors, labels and scores for
 * texts, and their tokens. Tests of the queue give one that answers at once.
 */
export interface TextEmbedder {
  /**
   * The model of this name, for a task if one is named.
   * @throws UserError when there is none, or it cannot be used for the task
   */
  find(name: string, task?: undefined, options?: FindOptions): ServedModel;
  find<Task extends TaskName>(name: string, task: Task, options?: FindOptions): ServedModelOf<Task>;
  /** Whether a pipeline may use a model, and as it wants to. @throws UserError when not */
  admit(model: ServedModel, use: PipelineUse): void;
  /** The tokenizer of a model, loaded once. @throws UserError when it cannot be loaded */
  tokenizer(model: ServedModel): Tokenizer;
  /** Texts of pipelines may be given in one call, and so share batches, where this is the same. */
  callKey(model: ServedModel, options: EmbedOptions | SparseOptions | LabelOptions): string;
  /**
   * A vector for each text, in the texts' order, or the EngineError that this text alone caused.
   * Any string is taken; '' gives the vector of the special tokens, which says nothing. When it rejects, what `onBatch` was
   * given until then stays good.
   * @throws UserError for texts of an interactive call beyond the limits (`checkTexts`), and for a model whose vectors are
   *   sparse; EngineError when the backend can do nothing for any of them (`load`, `start`, `stopped`, `busy`, `later`)
   */
  embedTexts(model: VectorModel, texts: readonly string[], options?: EmbedOptions): Promise<SequenceResult[]>;
  /** The same for a model whose vectors are sparse. @throws as `embedTexts`; UserError where they are not */
  embedSparse(
    model: VectorModel,
    texts: readonly string[],
    options?: SparseOptions,
  ): Promise<(SparseVector | EngineError)[]>;
  /**
   * Labels for each text, in the texts' order, or the EngineError that this text alone caused. The options are those
   * of the model's task (`checkTaskOptions`).
   * @throws as `embedTexts`; UserError when the options do not fit the task
   */
  labelTexts(
    model: LabelModel,
    texts: readonly string[],
    options?: LabelOptions,
  ): Promise<(LabelResult | EngineError)[]>;
  /**
   * How well each text answers the query, in the texts' order, or the EngineError that this text alone caused.
   * @throws as `embedTexts`; UserError when the options do not fit the task
   */
  rankTexts(
    model: LogitsModel,
    query: string,
    texts: readonly string[],
    options?: RankOptions,
  ): Promise<(number | EngineError)[]>;
}
