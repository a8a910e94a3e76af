import { LOCK_NOT_AVAILABLE } from '../database/errors.ts';
import { codeOf, messageOf } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import { refreshPipeline } from '../pipelines/pipeline.ts';
import { failJobs, heldJobs, type Job, releaseJobs } from '../queue/jobs.ts';
import { persist, type WorkerContext } from './context.ts';
import { describe } from './describe.ts';
import type { WorkerStats } from './events.ts';
import type { Holdings } from './holdings.ts';
import { TooSlowError } from './lanes.ts';
import type { ServedPipeline, ServedPipelines } from './served-pipelines.ts';

/** A job whose row could not be worked on, and why. */
export interface FailedAttempt {
  readonly job: Job;
  readonly error: unknown;
}

/** Jobs of a pipeline that does not work wait this long before any worker claims them again. */
const RELEASE_DELAY_SECONDS = 2;
/** How much longer a pipeline rests than its jobs; in ms. */
const REST_MARGIN_MS = 500;
/** Jobs that could not be given back, since somebody had them locked, are given back after this. */
const LOCKED_MS = 1_000;

/**
 * What becomes of jobs that did not work out. Three ways:
 * - one row is at fault: its attempt is booked, it is tried later or becomes a dead letter;
 * - the pipeline is at fault (a column is gone, the model cannot be loaded): the error goes on the pipeline, and its
 *   jobs go back without an attempt booked;
 * - neither is (the worker stops, somebody has the row locked, what runs the model takes nothing for a while): the jobs go
 *   back, and that is all.
 */
export class Setbacks {
  readonly #context: WorkerContext;
  readonly #pipelines: ServedPipelines;
  readonly #holdings: Holdings;
  readonly #stats: WorkerStats;
  /** Pipelines whose functions were made again, and that have not worked since. */
  readonly #refreshed = new Set<number>();

  constructor(context: WorkerContext, pipelines: ServedPipelines, holdings: Holdings, stats: WorkerStats) {
    this.#context = context;
    this.#pipelines = pipelines;
    this.#holdings = holdings;
    this.#stats = stats;
  }

  /** Books failed attempts of rows of one pipeline. */
  async failRows(served: ServedPipeline, failures: readonly FailedAttempt[]): Promise<void> {
    if (failures.length === 0) return;
    const { pipeline } = served;
    const { dead, retried } = await persist(
      this.#context,
      () =>
        failJobs(
          this.#context.database,
          this.#context.claimant,
          failures.map(({ job, error }) => ({ job, error: describe(error) })),
          this.#context.backoff,
        ),
      // Also when the failure cannot be booked: a lease that is renewed for ever would keep the row from everybody.
    ).finally(() => this.#holdings.remove(failures.map(({ job }) => job)));
    this.#stats.dead += dead;
    this.#stats.retried += retried;
    // What PostgreSQL says of a row may quote it, and rows stay out of the log: the message is in embedder.failed_job.
    const reasons: Record<string, number> = {};
    for (const { error } of failures) {
      const reason = error instanceof EngineError ? error.kind : codeOf(error) || 'other';
      reasons[reason] = (reasons[reason] ?? 0) + 1;
    }
    this.#context.logger.warn(
      { pipeline: pipeline.name, dead, retried, reasons: Object.keys(reasons) },
      'rows failed',
    );
    this.#context.events.emit('failed', { pipeline: pipeline.name, dead, retried, reasons });
    // What runs the model could tell that it is the row: so it works, whatever was wrong before.
    if (failures.some(({ error }) => error instanceof EngineError)) await this.succeed(served);
  }

  /**
   * Deals with an error of a whole batch that no single row has caused: finds out whether the pipeline is at fault,
   * and gives the jobs back.
   */
  async failPipeline(served: ServedPipeline, jobs: readonly Job[], error: unknown): Promise<void> {
    const { pipeline } = served;
    let delaySeconds = RELEASE_DELAY_SECONDS;
    if (error instanceof EngineError && error.until !== undefined) {
      delaySeconds = Math.max(0, error.until - Date.now()) / 1_000;
      // A little longer, so that the jobs are due when it goes on.
      this.#pipelines.rest(pipeline, error.line, delaySeconds * 1_000 + REST_MARGIN_MS);
    } else if (error instanceof EngineError || error instanceof TooSlowError) {
      await this.#pipelines.fail(pipeline, error.line);
    } else if (codeOf(error) !== LOCK_NOT_AVAILABLE && !(await this.#pipelines.checkVersion())) {
      const problem = await this.findProblem(served);
      if (problem != null || (problem === null && this.#refreshed.has(pipeline.id))) {
        await this.#pipelines.fail(pipeline, problem ?? describe(error));
      } else {
        // It seems to be mended, so try at once; or the pipeline was dropped, and there is nothing to try.
        delaySeconds = 0;
      }
      if (problem !== undefined) this.#refreshed.add(pipeline.id);
    }
    await this.release(jobs, delaySeconds);
  }

  /** Whether the pipeline is left alone for a while after an error. */
  isAside({ pipeline }: ServedPipeline): boolean {
    return this.#pipelines.isAside(pipeline.id);
  }

  /** Leaves the pipeline alone for a while, and says why. */
  async setAside({ pipeline }: ServedPipeline, reason: string): Promise<void> {
    await this.#pipelines.fail(pipeline, reason);
  }

  /**
   * What is wrong with the pipeline's tables. Null: nothing is wrong, and functions that were out of date were made again.
   * Undefined: the pipeline was dropped.
   */
  findProblem({ pipeline }: ServedPipeline): Promise<string | null | undefined> {
    return persist(this.#context, () => refreshPipeline(this.#context.database, pipeline.id)).catch(
      messageOf,
    );
  }

  /** Notes that a batch of a pipeline went well. */
  async succeed({ pipeline }: ServedPipeline): Promise<void> {
    this.#refreshed.delete(pipeline.id);
    await this.#pipelines.succeed(pipeline);
  }

  /** Gives jobs back without an attempt booked; those that somebody has locked a little later. */
  async release(jobs: readonly Job[], delaySeconds = 0): Promise<void> {
    const { database, claimant } = this.#context;
    const locked: Job[] = [];
    for (const group of groupBy(jobs, (job) => job.pipelineId).values()) {
      await persist(this.#context, () => releaseJobs(database, claimant, group, delaySeconds));
      const held = await persist(this.#context, () => heldJobs(database, claimant, group));
      locked.push(...group.filter(({ rowKey }) => held.has(rowKey)));
    }
    this.#holdings.remove(jobs);
    if (locked.length === 0) return;
    // A worker that has stopped by then has freed them in another way (registration.ts).
    setTimeout(() => this.release(locked, delaySeconds).catch(() => {}), LOCKED_MS).unref();
  }
}
