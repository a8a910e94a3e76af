import { setImmediate as nextTurn } from 'node:timers/promises';
import { UserError } from '../errors.ts';
import { checkTexts, limits } from '../limits.ts';
import type {
  FindOptions,
  LabelModel,
  LogitsModel,
  RunnableModel,
  ServedModel,
  VectorModel,
} from '../model-files/description.ts';
import type { SparseVector } from '../sparse-vector.ts';
import type { LabelResult } from '../tasks/results.ts';
import type { PreparedTask } from '../tasks/task.ts';
import { labelTask, rankingTask } from '../tasks/task-options.ts';
import { asLabelModel, type ServedModelOf, type TaskName } from '../tasks/tasks.ts';
import type { TextTokenizer, Tokenizer } from '../tasks/text-tokenizer.ts';
import { traced } from '../tracing.ts';
import type { Backend, PipelineUse } from './backend/backend.ts';
import { EngineError } from './backend/engine-error.ts';
import type { RunOptions, SequenceResult } from './backend/run.ts';
import { batchKey, type SessionOptions, type SessionState } from './backend/session.ts';
import { SequenceRunner } from './batches/sequence-runner.ts';
import { OpenText } from './labels/open-text.ts';
import { inParts, textsAtOnce } from './labels/parts.ts';
import { Similarity } from './labels/similarity.ts';
import { vectorCutter } from './results/cut-vector.ts';
import { sparseVector } from './results/sparse-vector.ts';
import type {
  DoneText,
  EmbedOptions,
  LabelOptions,
  RankOptions,
  SparseOptions,
  TextEmbedder,
  TokenizedReport,
} from './text-embedder.ts';

export interface EmbedderOptions {
  /** The engine of this machine. */
  readonly engine: Backend;
  /** Others that are asked for a model before it is. */
  readonly others?: readonly Backend[];
  /** Most tokens of a batch of the engine, padding included. Default: what it plans. */
  readonly tokenBudget?: number | undefined;
  /** Called when the texts of one call are tokenized. */
  readonly onTokenized?: ((report: TokenizedReport) => void) | undefined;
}

/**
 * Time after which tokenizing lets others have a turn, in ms: results that came meanwhile are taken and the engine
 * is given its next batch.
 */
const TOKENIZE_SLICE_MS = 5;

/**
 * From texts to vectors and labels, by whichever backend has the model.
 *
 * @example
 * const model = embedder.find('all-MiniLM-L6-v2', 'feature-extraction');
 * const [vector] = await embedder.embedTexts(model, ['a cat']);
 */
export class Embedder implements TextEmbedder {
  readonly #backends: ReadonlyMap<Backend, SequenceRunner>;
  readonly #onTokenized: ((report: TokenizedReport) => void) | undefined;
  readonly #similarity = new Similarity(this, (model) => this.#textTokenizer(model));

  constructor({ engine, others = [], tokenBudget, onTokenized }: EmbedderOptions) {
    this.#backends = new Map(
      [...others, engine].map((backend) => [
        backend,
        new SequenceRunner(backend, backend === engine ? tokenBudget : undefined),
      ]),
    );
    this.#onTokenized = onTokenized;
  }

  get backends(): Backend[] {
    return [...this.#backends.keys()];
  }

  get sessions(): SessionState[] {
    return this.backends.flatMap(({ sessions }) => sessions);
  }

  find(name: string, task?: undefined, options?: FindOptions): ServedModel;
  find<Task extends TaskName>(name: string, task: Task, options?: FindOptions): ServedModelOf<Task>;
  find(name: string, task?: string, options?: FindOptions): ServedModel {
    for (const backend of this.#backends.keys()) {
      const model = backend.find(name, task, options);
      if (model) return model;
    }
    throw new UserError(`There is no model '${name}'`, {
      hint: 'pgembedder models list shows what there is',
    });
  }

  admit(model: ServedModel, use: PipelineUse): void {
    const runnable = runnableOf(model);
    if ('vectors' in model) requireDense(model.vectors);
    this.#backendOf(runnable).admit(runnable, use);
  }

  tokenizer(model: ServedModel): Tokenizer {
    return this.#textTokenizer(model);
  }

  callKey(model: ServedModel, options: EmbedOptions | SparseOptions | LabelOptions): string {
    const { priority, onBatch, ...own } = options;
    const runnable = runnableOf(model);
    const session = this.#backendOf(runnable).open(runnable, own as SessionOptions);
    const { pooling, normalize, ...finishing } = own as EmbedOptions & LabelOptions;
    return `${model.task} ${batchKey(session, priority)} ${JSON.stringify(finishing)}`;
  }

  async embedTexts(
    model: VectorModel,
    texts: readonly string[],
    options: EmbedOptions = {},
  ): Promise<SequenceResult[]> {
    requireDense(model);
    const { dimensions } = options;
    const items = await this.#sequencesOf(model, texts, options);
    const backend = this.#backendOf(model);
    const session = backend.open(model, options);
    const cut = vectorCutter(
      { dimensions: model.dimensions, normalize: session.normalize ?? false },
      dimensions,
    );
    const results = new Array<SequenceResult>(texts.length);
    await this.#backends.get(backend)!.run(session, items, options, (batch) => {
      const done = batch.map(({ item, result }) => ({ place: item.place, result: cut(result) }));
      for (const { place, result } of done) results[place] = result;
      options.onBatch?.(done);
    });
    return results;
  }

  async embedSparse(
    model: VectorModel,
    texts: readonly string[],
    options: SparseOptions = {},
  ): Promise<(SparseVector | EngineError)[]> {
    if (!model.sparse)
      throw new UserError(`Vectors of model '${model.name}' are dense, and sparse ones are asked for`, {
        hint: 'Choose a SPLADE model',
      });
    const { topK, onBatch, ...run } = options;
    const items = await this.#sequencesOf(model, texts, run);
    const backend = this.#backendOf(model);
    const results = new Array<SparseVector | EngineError>(texts.length);
    await this.#backends.get(backend)!.run(backend.open(model), items, run, (batch) => {
      const done = batch.map(({ item, result }) => ({
        place: item.place,
        result: result instanceof EngineError ? result : sparseVector(result, model.dimensions, topK),
      }));
      for (const { place, result } of done) results[place] = result;
      onBatch?.(done);
    });
    return results;
  }

  async labelTexts(
    model: LabelModel,
    texts: readonly string[],
    options: LabelOptions = {},
  ): Promise<(LabelResult | EngineError)[]> {
    const { priority, onBatch, ...taskOptions } = options;
    if (priority === 'interactive') checkTexts(texts);
    if ('vectors' in model) {
      return this.#similarity.labelTexts(model, texts, taskOptions, { priority }, onBatch);
    }
    const labels = asLabelModel(model);
    const task = labelTask(labels, this.#textTokenizer(model), taskOptions);
    return this.#runTask(model, texts, task, { priority, onBatch, atOnce: textsAtOnce(taskOptions) });
  }

  async rankTexts(
    model: LogitsModel,
    query: string,
    texts: readonly string[],
    { priority, ...taskOptions }: RankOptions = {},
  ): Promise<(number | EngineError)[]> {
    checkTexts([query]);
    if (priority === 'interactive') checkTexts(texts);
    const task = rankingTask(model, this.#textTokenizer(model), taskOptions)(query);
    return this.#runTask(model, texts, task, { priority, atOnce: limits.sequencesAtOnce });
  }

  /** Ends what runs models, for good. */
  async stop(graceMs?: number): Promise<void> {
    await Promise.all(this.backends.map((backend) => backend.stop(graceMs)));
  }

  /** A sequence for each text. @throws UserError for texts of an interactive call beyond the limits */
  async #sequencesOf(
    model: VectorModel,
    texts: readonly string[],
    { prompt = '', priority }: Pick<EmbedOptions, 'prompt' | 'priority'>,
  ) {
    if (priority === 'interactive') checkTexts(texts);
    const tokenizer = this.#textTokenizer(model);
    return this.#tokenize(model, texts, (text, place) => ({
      place,
      sequence: tokenizer.encode(prompt + text),
    }));
  }

  async #runTask<Result>(
    model: LogitsModel,
    texts: readonly string[],
    task: PreparedTask<Result>,
    { priority, onBatch, atOnce }: TaskRun<Result>,
  ): Promise<(Result | EngineError)[]> {
    const results = new Array<Result | EngineError>(texts.length);
    const tell = (finished: readonly OpenText<number, Result>[]) => {
      if (finished.length === 0) return;
      const done = finished.map((open) => ({ place: open.text, result: open.result() }));
      for (const { place, result } of done) results[place] = result;
      onBatch?.(done);
    };
    const places = [...texts.keys()];
    for (const part of inParts(places, atOnce)) {
      const open = await this.#tokenize(
        model,
        part.map((place) => texts[place]!),
        (text, at) =>
          new OpenText(
            part[at]!,
            errorOr(() => task(text)),
          ),
      );
      tell(open.filter(({ done }) => done));
      await this.#runSequences(
        model,
        open.flatMap(({ sequences }) => sequences),
        { priority },
        tell,
      );
    }
    return results;
  }

  async #runSequences<Result>(
    model: LogitsModel,
    sequences: OpenText<number, Result>['sequences'],
    options: RunOptions,
    tell: (finished: readonly OpenText<number, Result>[]) => void,
  ): Promise<void> {
    const backend = this.#backendOf(model);
    await this.#backends.get(backend)!.run(backend.open(model), sequences, options, (batch) => {
      tell(
        batch.flatMap(({ item: { of: open, number }, result }) => {
          open.put(number, result);
          return open.done ? [open] : [];
        }),
      );
    });
  }

  async #tokenize<Result>(
    { name }: ServedModel,
    texts: readonly string[],
    each: (text: string, place: number) => Result,
  ): Promise<Result[]> {
    const begin = performance.now();
    const attributes = { 'pgembedder.model': name, 'pgembedder.texts': texts.length };
    const results = await traced('tokenize', attributes, () => inSlices(texts, each));
    this.#onTokenized?.({ model: name, texts: texts.length, ms: performance.now() - begin });
    return results;
  }

  #textTokenizer(model: ServedModel): TextTokenizer {
    const runnable = runnableOf(model);
    return this.#backendOf(runnable).tokenizer(runnable);
  }

  #backendOf(model: RunnableModel): Backend {
    const backend = this.backends.find((each) => each.runs(model));
    if (!backend) throw new Error(`no backend runs the model ${model.name}`);
    return backend;
  }
}

/** How a task is run. */
interface TaskRun<Result> extends RunOptions {
  /** How many texts are made ready for the model at a time. */
  readonly atOnce: number;
  onBatch?: ((done: readonly DoneText<Result>[]) => void) | undefined;
}

/** @throws UserError for a model whose vectors are sparse */
function requireDense({ name, sparse }: VectorModel): void {
  if (!sparse) return;
  throw new UserError(`Vectors of model '${name}' are sparse, and dense ones are asked for`, {
    hint: 'Ask for sparse ones: embedder.embed_sparse in SQL, embedSparse of the library, /embed_sparse over HTTP',
  });
}

/** The model that runs for this one. */
function runnableOf(model: ServedModel): RunnableModel {
  return 'vectors' in model ? model.vectors : model;
}

/** Does something with each text, letting others have a turn now and then. */
async function inSlices<Result>(
  texts: readonly string[],
  each: (text: string, place: number) => Result,
): Promise<Result[]> {
  const results: Result[] = [];
  let turn = performance.now();
  for (const text of texts) {
    results.push(each(text, results.length));
    if (performance.now() - turn > TOKENIZE_SLICE_MS) {
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
