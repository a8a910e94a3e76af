import type { z } from 'zod';
import type {
  FeatureExtractionModel,
  LocalModel,
  LogitsModel,
  ModelDescription,
  ModelFiles,
  ModelTraits,
} from '../model-files/description.ts';
import type { ModelConfig } from '../model-files/model-folder.ts';
import type { LabelResult } from './results.ts';
import type { TextTokenizer } from './text-tokenizer.ts';

/** What a model is given: a text of a row or a call, two texts, or an image. */
export type TaskInput = 'text' | 'pair' | 'image';

/**
 * What comes out: a vector; labels, with a score each; spans, which are parts of the text with a label each; or a score, one
 * number. Whoever writes, shows or searches results asks for this, and never for the name of a task.
 */
export type ResultKind = 'vector' | 'labels' | 'spans' | 'score';

/** A text as sequences for the model, and how their logits become its result. */
export interface PreparedText<Result> {
  /** At least one. */
  readonly sequences: readonly object[];
  /** @param logits of each sequence, in their order */
  finish(logits: readonly Float32Array[]): Result;
}

/**
 * A task with its model and its options: what is to be done with each text.
 * @throws EngineError for a text with which it cannot be done
 */
export type PreparedTask<Result> = (text: string) => PreparedText<Result>;

/** The same for a task that compares texts with a query. */
export type PreparedRanking = (query: string) => PreparedTask<number>;

/** What `Task.prepare` gives, by the kind of result. */
interface Prepared {
  readonly vector: never;
  readonly labels: PreparedTask<LabelResult>;
  readonly spans: PreparedTask<LabelResult>;
  readonly score: PreparedRanking;
}

/** A model's folder, as far as it says what the model gives. */
export interface TaskFolder<Stated> {
  readonly directory: string;
  readonly config: ModelConfig;
  /** What the catalog states of the model, which wins over its files; null for a model that is not in the catalog. */
  readonly stated: Stated | null;
}

/** What is known of a model beside what is known of all: its vectors or its logits. */
type OwnPart = Omit<FeatureExtractionModel, Common> | Omit<LogitsModel, Common>;
type Common = keyof ModelTraits | keyof ModelFiles;

/** All that is to be known of a task. docs/architecture.md says how one is added. */
export interface Task<
  Name extends string = string,
  Result extends ResultKind = ResultKind,
  Options extends z.ZodRawShape = z.ZodRawShape,
  Stated extends z.ZodRawShape = z.ZodRawShape,
  Model extends OwnPart = OwnPart,
  Adapted extends ModelDescription = ModelDescription,
> {
  /** As the hub calls it. */
  readonly name: Name;
  readonly input: TaskInput;
  readonly result: Result;
  /** The options of a pipeline or a call, with their defaults. embedder.known_options has the same in SQL. */
  readonly options: z.ZodObject<Options>;
  /** The options that must be given, with values for a trial of a model. */
  readonly trial: Readonly<Record<string, unknown>>;
  /** The model where nobody names one; null where one has to be named. */
  readonly defaultModel: string | null;
  /** What to do where a model was named that is for another task. */
  readonly advice: string;

  /** What the catalog states of a model for this task, beside what it states of all models. */
  readonly stated: Stated;
  /** Whether `config.json` says that a model is for this task; null: it is where no other task claims it. */
  readonly claims: ((config: ModelConfig) => boolean) | null;
  /**
   * What is known of a model for this task, beside what is known of all models.
   * @throws UserError when its files do not say it
   */
  describe(folder: TaskFolder<z.infer<z.ZodObject<Stated>>>): Model;
  /** Other tasks whose models do this one as well, by name, and what such a model becomes then. */
  readonly adapts: Readonly<Record<string, (model: LocalModel) => Adapted>>;
  /** What models for other tasks lack, by the name of the task, where there is something to say. */
  readonly lacking: Readonly<Record<string, string>>;

  /**
   * From texts to sequences for the model, and back to results. Null where the result is a vector: then each text is a
   * sequence, and what comes out is the result.
   * @throws UserError when the options do not fit the model
   */
  readonly prepare: Prepare<Model, z.infer<z.ZodObject<Options>>, Prepared[Result]>;
}

type Prepare<Model, Options, Given> =
  | {
      // As a method: tasks with different models are in one table.
      prepare(model: Model, tokenizer: TextTokenizer, options: Options): Given;
    }['prepare']
  | null;

/** Lets the compiler keep what a task says of itself. */
export function defineTask<
  const Name extends string,
  const Result extends ResultKind,
  Options extends z.ZodRawShape,
  Stated extends z.ZodRawShape,
  Model extends OwnPart,
  Adapted extends ModelDescription = never,
>(
  task: Task<Name, Result, Options, Stated, Model, Adapted>,
): Task<Name, Result, Options, Stated, Model, Adapted> {
  return task;
}
