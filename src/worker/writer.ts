import { setTimeout as wait } from 'node:timers/promises';
import { bisect } from '../bisect.ts';
import { isRowError, LOCK_NOT_AVAILABLE } from '../database/errors.ts';
import { codeOf } from '../errors.ts';
import { chunksOf, completeJobs, type Result } from '../queue/batch.ts';
import { heldJobs } from '../queue/jobs.ts';
import { persist, type WorkerContext } from './context.ts';
import type { WorkerStats } from './events.ts';
import type { Holdings } from './holdings.ts';
import { inTime } from './lanes.ts';
import type { ServedPipeline } from './served-pipelines.ts';
import type { FailedAttempt, Setbacks } from './setbacks.ts';

/** The most rows of one statement, each chunk counted as a row. Statements of more than 512 are no faster. */
const ROWS_PER_STATEMENT = 512;
/** How long results wait for more of their pipeline, so that a drain writes by hundreds. A lone row does not wait. */
const LINGER_MS = 50;
/** Rows that somebody else has locked are tried again after this, this many times; then they are given back. */
const LOCKED_RETRY_MS = 100;
const LOCKED_RETRIES = 20;
const LOCKED_DELAY_SECONDS = 5;
/** A table that is locked as a whole is tried again after this; the statement itself has waited two seconds by then. */
const LOCKED_TABLE_MS = 1_000;

/** Results of one pipeline that wait to be written. */
interface Queue {
  /** As it was read last. */
  served: ServedPipeline;
  readonly results: Result[];
  timer: NodeJS.Timeout | undefined;
}

/**
 * Writes results to their targets. Results gather until there are enough for a statement, until nothing more of their
 * pipeline is under way, or until the oldest has waited long enough.
 */
export class Writer {
  readonly #context: WorkerContext;
  readonly #setbacks: Setbacks;
  readonly #holdings: Holdings;
  readonly #stats: WorkerStats;
  readonly #queues = new Map<number, Queue>();
  readonly #writes = new Set<Promise<void>>();
  #stopping = false;

  constructor(context: WorkerContext, setbacks: Setbacks, holdings: Holdings, stats: WorkerStats) {
    this.#context = context;
    this.#setbacks = setbacks;
    this.#holdings = holdings;
    this.#stats = stats;
  }

  /** Takes results of one pipeline. `moreComing`: others of the same pipeline are still being computed. */
  add(served: ServedPipeline, results: readonly Result[], moreComing: boolean): void {
    const { id } = served.pipeline;
    const queue = this.#queues.get(id) ?? { served, results: [], timer: undefined };
    queue.served = served;
    this.#queues.set(id, queue);
    queue.results.push(...results);
    for (let full = fullStatement(queue.results); full > 0; full = fullStatement(queue.results))
      this.#write(queue, queue.results.splice(0, full));
    if (!moreComing) this.#flush(queue);
    else if (queue.results.length > 0) queue.timer ??= setTimeout(() => this.#flush(queue), LINGER_MS);
  }

  /** Writes all that waits, and takes nothing more; resolves when it is committed or given up. */
  async drain(): Promise<void> {
    this.#stopping = true;
    for (const queue of this.#queues.values()) this.#flush(queue);
    while (this.#writes.size > 0) await Promise.all(this.#writes);
  }

  #flush(queue: Queue): void {
    clearTimeout(queue.timer);
    queue.timer = undefined;
    if (queue.results.length > 0) this.#write(queue, queue.results.splice(0));
  }

  #write(queue: Queue, results: Result[]): void {
    const write = this.#writeResults(queue.served, results)
      .catch((error: unknown) =>
        this.#context.logger.error({ err: error }, 'results were not written, their leases will run out'),
      )
      .finally(() => {
        this.#holdings.remove(results.map(({ job }) => job));
        this.#writes.delete(write);
      });
    this.#writes.add(write);
  }

  async #writeResults(served: ServedPipeline, results: readonly Result[]): Promise<void> {
    const failures: FailedAttempt[] = [];
    const settled: Result[] = [];
    try {
      await bisect(
        results,
        async (part) => {
          const { id } = served.pipeline;
          settled.push(...(await this.#context.lanes.run(id, () => this.#complete(served, part))));
        },
        isRowError,
        ({ job }, error) => failures.push({ job, error }),
      );
    } catch (error) {
      if (this.#context.signal.aborted) throw error;
      await this.#setbacks.failPipeline(
        served,
        results.map(({ job }) => job),
        error,
      );
      return;
    }
    await this.#settleFailures(served, settled, failures);
  }

  /**
   * A target of a wrong type fails every row alike: then the pipeline is at fault and not the rows. Rows that were given
   * back meanwhile tell nothing.
   */
  async #settleFailures(
    served: ServedPipeline,
    settled: readonly Result[],
    failures: readonly FailedAttempt[],
  ): Promise<void> {
    if (failures.length > 0 && settled.every(({ output }) => !output)) {
      const problem = await this.#setbacks.findProblem(served);
      if (problem != null) {
        await this.#setbacks.failPipeline(
          served,
          failures.map(({ job }) => job),
          failures[0]!.error,
        );
        return;
      }
    }
    await this.#setbacks.failRows(served, failures);
    if (settled.length > 0) await this.#setbacks.succeed(served);
  }

  /**
   * Writes results until each is committed, found to be superseded, or given back because it stays locked.
   * @returns what statements have settled: committed or superseded
   */
  async #complete(served: ServedPipeline, results: readonly Result[]): Promise<Result[]> {
    const { database, tables, vectorOid } = this.#context;
    const { id, task, chunking } = served.pipeline;
    const target = { id, task, chunked: chunking !== null };
    // A row that this worker has claimed once more, since its lease ran out, is written by the later claim alone: one
    // statement cannot write it twice.
    const own = results.filter(({ job }) => this.#holdings.has(job));
    this.#countSuperseded(served, results.length - own.length);
    if (this.#setbacks.isAside(served)) {
      // An earlier statement has found that the pipeline does not work.
      await this.#setbacks.release(own.map(({ job }) => job));
      return [];
    }
    let left = own;
    for (let attempt = 0; left.length > 0; attempt++) {
      const begin = performance.now();
      const done = await persist(this.#context, () =>
        inTime('writing to its target', () =>
          completeJobs(tables, target, left, served.pipeline.model, vectorOid),
        ),
      ).catch((error: unknown) => this.#waitForTable(served, error));
      if (!done) continue;
      this.#count(
        served,
        left.filter(({ job }) => done.has(job.rowKey)),
        performance.now() - begin,
      );
      left = left.filter(({ job }) => !done.has(job.rowKey));
      if (left.length === 0) break;

      const jobs = left.map(({ job }) => job);
      const held = await persist(this.#context, () => heldJobs(database, this.#context.claimant, jobs));
      this.#countSuperseded(served, left.filter(({ job }) => !held.has(job.rowKey)).length);
      left = left.filter(({ job }) => held.has(job.rowKey));
      if (left.length > 0 && attempt === LOCKED_RETRIES) {
        await this.#setbacks.release(
          left.map(({ job }) => job),
          LOCKED_DELAY_SECONDS,
        );
        break;
      }
      if (left.length > 0) await wait(LOCKED_RETRY_MS);
    }
    return own.filter((result) => !left.includes(result));
  }

  /**
   * Somebody has the target locked as a whole, perhaps for an index that takes hours: the results wait, and no more rows are
   * embedded meanwhile. Any other error is thrown.
   */
  async #waitForTable(served: ServedPipeline, error: unknown): Promise<null> {
    if (codeOf(error) !== LOCK_NOT_AVAILABLE || this.#stopping) throw error;
    await this.#setbacks.setAside(
      served,
      'its target is locked by another session; results wait until it is free',
    );
    await wait(LOCKED_TABLE_MS);
    return null;
  }

  #count(served: ServedPipeline, done: readonly Result[], ms: number): void {
    if (done.length === 0) return;
    const embedded = done.filter(({ output }) => output).length;
    const emptied = done.length - embedded;
    this.#stats.embedded += embedded;
    this.#stats.emptied += emptied;
    this.#context.events.emit('completed', { pipeline: served.pipeline.name, embedded, emptied, ms });
  }

  #countSuperseded(served: ServedPipeline, rows: number): void {
    if (rows === 0) return;
    this.#stats.superseded += rows;
    this.#context.events.emit('superseded', { pipeline: served.pipeline.name, rows });
  }
}

/** How many of the results fill a statement; 0 when all together do not. */
function fullStatement(results: readonly Result[]): number {
  let rows = 0;
  const last = results.findIndex(({ output }) => {
    rows += Math.max(1, chunksOf(output).length);
    return rows >= ROWS_PER_STATEMENT;
  });
  return last + 1;
}
