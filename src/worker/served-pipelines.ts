import { parseChunking } from '../chunking/parse-chunking.ts';
import type { Chunking } from '../chunking/types.ts';
import { migrationState } from '../database/migrate/applied-files.ts';
import { messageOf, UserError } from '../errors.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import { givesSparse, givesVectors, type ServedModel, type VectorModel } from '../model-files/description.ts';
import { loadPipelines, type Pipeline, setPipelineError } from '../pipelines/pipeline.ts';
import { noteWorker } from '../queue/workers.ts';
import { isSparse } from '../tasks/feature-extraction.ts';
import { checkTaskOptions } from '../tasks/task-options.ts';
import { version } from '../version.ts';
import { persist, type WorkerContext } from './context.ts';

/** A pipeline that this worker can serve, and its model. */
export interface ServedPipeline {
  readonly pipeline: Pipeline;
  readonly model: ServedModel;
  /** Put before each text. */
  readonly prompt: string;
  /** How its texts are cut; null where rows are taken whole. */
  readonly chunking: Chunking | null;
}

/** A pipeline in error is tried again after this. The wait is doubled each time, up to the limit. */
const RETRY_MS = 5_000;
const RETRY_LIMIT_MS = 60_000;

const OUTDATED = 'the schema in the database is of another version than this worker';

/** Which pipelines there are, which of them this worker serves, and which it leaves alone for a while after an error. */
export class ServedPipelines {
  readonly #context: WorkerContext;
  readonly #embedder: TextEmbedder;
  #served = new Map<number, ServedPipeline>();
  readonly #setbacks = new Map<number, { name: string; until: number; delay: number; message: string }>();
  /** Pipelines whose model takes nothing before a certain time; in ms of `performance.now`. */
  readonly #resting = new Map<number, number>();
  /** Pipelines whose model this worker does not have, or has and cannot use for them. */
  readonly #unservable = new Set<number>();
  /** Pipelines whose tables are not as they must be: left alone until they are. */
  readonly #broken = new Set<number>();
  /** Pipelines whose backfill could not be walked the last time. */
  readonly #unwalked = new Set<number>();
  #turn = 0;
  #outdated = false;

  constructor(context: WorkerContext, embedder: TextEmbedder) {
    this.#context = context;
    this.#embedder = embedder;
  }

  /** Reads the pipelines again; to be called when a declaration has changed. */
  async reload(): Promise<void> {
    if (await this.checkVersion()) return;
    const pipelines = await persist(this.#context, () => loadPipelines(this.#context.database));
    for (const id of [...this.#setbacks.keys(), ...this.#broken]) {
      if (pipelines.some((pipeline) => pipeline.id === id)) continue;
      this.#setbacks.delete(id);
      this.#broken.delete(id);
    }
    const served = new Map<number, ServedPipeline>();
    for (const pipeline of pipelines) {
      // Somebody has cleared the error, by embedder.resume_pipeline: try at once.
      if (pipeline.error === null) {
        this.#setbacks.delete(pipeline.id);
        this.#broken.delete(pipeline.id);
      }
      try {
        served.set(pipeline.id, this.#serve(pipeline));
        if (this.#unservable.delete(pipeline.id)) await this.succeed(pipeline);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        this.#unservable.add(pipeline.id);
        await this.fail(pipeline, error.line);
      }
    }
    const before = [...this.#served.values()].map(({ pipeline }) => pipeline.name).join();
    this.#served = served;
    const names = [...served.values()].map(({ pipeline }) => pipeline.name);
    if (names.join() !== before) this.#context.logger.info({ pipelines: names }, 'pipelines');
    this.#context.events.emit('pipelines', names);
  }

  /**
   * Whether the schema is now of another version. Then this worker claims nothing until it fits again: its calls could mean
   * something else there.
   */
  async checkVersion(): Promise<boolean> {
    const { database, claimant, logger } = this.#context;
    const outdated = (await persist(this.#context, () => migrationState(database))) !== 'current';
    if (outdated === this.#outdated) return outdated;
    this.#outdated = outdated;
    if (outdated) logger.warn({ version }, `${OUTDATED}: claims nothing until it fits`);
    else logger.info('the schema fits this worker again');
    const note = outdated ? OUTDATED : null;
    await persist(this.#context, () => noteWorker(database, claimant.workerId, note)).catch(
      (error: unknown) => logger.warn({ reason: messageOf(error) }, 'could not write the note'),
    );
    return outdated;
  }

  /** Whether the schema was another version's when it was last looked at. */
  get outdated(): boolean {
    return this.#outdated;
  }

  /** A served pipeline; undefined when it was dropped meanwhile. */
  find(pipelineId: number): ServedPipeline | undefined {
    return this.#served.get(pipelineId);
  }

  /**
   * The pipelines to claim from, the highest priority first. Among equals each call begins with another one, so that
   * no full queue keeps its neighbours waiting.
   */
  claimable(): number[] {
    if (this.#outdated) return [];
    const slow = this.#context.lanes.slow();
    const open = [...this.#served.values()].filter(
      ({ pipeline: { id, paused } }) =>
        !paused && !this.isAside(id) && this.#restMs(id) === 0 && !slow.has(id),
    );
    const turn = this.#turn++ % Math.max(1, open.length);
    const rotated = [...open.slice(turn), ...open.slice(0, turn)];
    return rotated
      .sort((a, b) => b.pipeline.priority - a.pipeline.priority)
      .map(({ pipeline }) => pipeline.id);
  }

  /** Whether a pipeline is left alone for a while after an error. */
  isAside(pipelineId: number): boolean {
    return this.#broken.has(pipelineId) || (this.#setbacks.get(pipelineId)?.until ?? 0) > performance.now();
  }

  /** Leaves a pipeline alone until what runs its model takes something again. Nothing is wrong with it: no error is written. */
  rest({ id, name }: Pipeline, reason: string, waitMs: number): void {
    this.#resting.set(id, performance.now() + waitMs);
    this.#context.logger.warn({ pipeline: name, reason, waitMs }, 'pipeline has to wait');
  }

  /** How long it is until the first of the pipelines that rest may go on; 0 where none rests. */
  restMs(): number {
    const waits = [...this.#served.keys()].map((id) => this.#restMs(id)).filter((ms) => ms > 0);
    return waits.length === 0 ? 0 : Math.min(...waits);
  }

  #restMs(pipelineId: number): number {
    return Math.max(0, (this.#resting.get(pipelineId) ?? 0) - performance.now());
  }

  /** Writes an error on a pipeline and leaves it alone for a while. */
  async fail(pipeline: Pipeline, message: string): Promise<void> {
    const before = this.#setbacks.get(pipeline.id);
    const delay = Math.min(before ? before.delay * 2 : RETRY_MS, RETRY_LIMIT_MS);
    this.#setbacks.set(pipeline.id, {
      name: pipeline.name,
      until: performance.now() + delay,
      delay,
      message,
    });
    if (before?.message === message && this.#now(pipeline).error !== null) return;
    this.#note(pipeline.id, message);
    await persist(this.#context, () => setPipelineError(this.#context.database, pipeline.id, message));
    this.#context.logger.error({ pipeline: pipeline.name, reason: message }, 'pipeline does not work');
    this.#context.events.emit('pipelineError', { pipeline: pipeline.name, error: message });
  }

  /** Notes that a pipeline works: clears the error that it or another worker has written. */
  async succeed(pipeline: Pipeline): Promise<void> {
    if (this.#broken.has(pipeline.id)) return;
    if (this.#now(pipeline).error === null && !this.#setbacks.has(pipeline.id)) return;
    this.#setbacks.delete(pipeline.id);
    this.#note(pipeline.id, null);
    await persist(this.#context, () => setPipelineError(this.#context.database, pipeline.id, null));
    this.#context.logger.info({ pipeline: pipeline.name }, 'pipeline works again');
    this.#context.events.emit('pipelineError', { pipeline: pipeline.name, error: null });
  }

  /** The pipeline by what is known now: batches that are under way have it as it was. */
  #now(pipeline: Pipeline): Pipeline {
    return this.#served.get(pipeline.id)?.pipeline ?? pipeline;
  }

  #note(pipelineId: number, error: string | null): void {
    const served = this.#served.get(pipelineId);
    if (served) this.#served.set(pipelineId, { ...served, pipeline: { ...served.pipeline, error } });
  }

  /** Notes what a look at the tables of a pipeline has found to be wrong; null: nothing any more. */
  async looked(pipelineId: number, problem: string | null): Promise<void> {
    if (problem === null) this.#broken.delete(pipelineId);
    else this.#broken.add(pipelineId);
    await this.#settle(pipelineId, problem);
  }

  async #settle(pipelineId: number, problem: string | null): Promise<void> {
    const served = this.#served.get(pipelineId);
    if (!served) return;
    if (problem === null) await this.succeed(served.pipeline);
    else await this.fail(served.pipeline, problem);
  }

  /** Notes how the last walk through a pipeline's backfill ended. A walk that ends well clears the problem of one before it. */
  async walked(pipelineId: number, problem: string | null = null): Promise<void> {
    if (problem === null && !this.#unwalked.delete(pipelineId)) return;
    if (problem !== null) this.#unwalked.add(pipelineId);
    await this.#settle(pipelineId, problem);
  }

  /** Whether a pipeline is still in its first filling. */
  filling(): boolean {
    return [...this.#served.values()].some(({ pipeline }) => !pipeline.filled);
  }

  /** Names and errors of the pipelines that this worker leaves alone at the moment. */
  failing(): { pipeline: string; error: string }[] {
    return [...this.#setbacks.values()].map(({ name, message }) => ({ pipeline: name, error: message }));
  }

  #serve(pipeline: Pipeline): ServedPipeline {
    checkTaskOptions(pipeline.task, pipeline.options);
    const model = this.#embedder.find(pipeline.model, pipeline.task);
    if (givesVectors(model) && isSparse(pipeline.options) !== givesSparse(model)) {
      throw new UserError(
        `model ${model.name} gives ${givesSparse(model) ? 'sparse' : 'dense'} vectors, and the target of pipeline "${pipeline.name}" is for ${givesSparse(model) ? 'dense' : 'sparse'} ones`,
        { hint: 'Drop the pipeline and create it again, with "vector_type": "sparsevec" for sparse vectors' },
      );
    }
    if (givesVectors(model) && !fits(model, pipeline.dimensions!)) {
      throw new UserError(
        `model ${model.name} gives vectors of ${model.dimensions} dimensions, and the target of pipeline "${pipeline.name}" holds ${pipeline.dimensions}`,
        {
          hint: 'Drop the pipeline and create it again, or give this worker the model that it was made for.',
        },
      );
    }
    try {
      this.#embedder.tokenizer(model);
    } catch (error) {
      throw error instanceof UserError ? error : new UserError(messageOf(error), { cause: error });
    }
    const chunking = pipeline.chunking && chunkingOf(pipeline.chunking);
    const { pooling } = pipeline.options;
    this.#embedder.admit(model, { pipeline: pipeline.name, pooling, chunking: chunking?.strategy });
    const prompt = givesVectors(model) ? (pipeline.options.prompt ?? model.prompts.passage) : '';
    return { pipeline, model, prompt, chunking };
  }
}

/** Whether vectors of a model fit a target. Dense ones may be cut, as Matryoshka models allow. */
function fits({ dimensions, sparse }: VectorModel, wanted: number): boolean {
  return sparse ? dimensions === wanted : dimensions >= wanted;
}

/** The server puts the template into what it gives; the rest says how to cut. */
function chunkingOf(given: object): Chunking {
  return parseChunking(Object.fromEntries(Object.entries(given).filter(([key]) => key !== 'template')));
}
