import { setTimeout as wait } from 'node:timers/promises';
import { bisect } from '../bisect.ts';
import { isRowError, LOCK_NOT_AVAILABLE } from '../database/errors.ts';
import { codeOf } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { chunksOf, completeJobs, type Result } from '../queue/batch.ts';
import { heldJobs } from '../queue/jobs.ts';
import { isSparse } from '../tasks/feature-extraction.ts';
import { traced } from '../tracing.ts';
import { persist, type WorkerContext } from './context.ts';
import type { WorkerStats } from './events.ts';
import type { Holdings } from './holdings.ts';
import { inTime } from './lanes.ts';
import { LockedRows } from './locked-rows.ts';
import { Pace, ROWS_PER_STATEMENT } from './pace.ts';
import type { ServedPipeline } from './served-pipelines.ts';
import type { FailedAttempt, Setbacks } from './setbacks.ts';

/** How long results wait for more of their pipeline, so that a drain writes by hundreds. A lone row does not wait. */
const LINGER_MS = 50;
/** Rows that somebody else has locked are tried again after this, this many times; then they are given back. */
const LOCKED_RETRY_MS = 100;
const LOCKED_RETRIES = 20;
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
  readonly #lockedRows = new LockedRows();
  readonly #pace = new Pace();
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
    const { id } = served.pipeline;
    try {
      for (let at = 0; at < results.length; ) {
        const rest = results.slice(at);
        const statement = rest.slice(0, fullStatement(rest, this.#pace.most(id)) || rest.length);
        at += statement.length;
        await bisect(
          statement,
          async (part) => {
            settled.push(...(await this.#context.lanes.run(id, () => this.#complete(served, part))));
          },
          isRowError,
          ({ job }, error) => failures.push({ job, error }),
        );
      }
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
    const { id, task, chunking, options, live, notify, name } = served.pipeline;
    // Of the next generation nobody can see anything yet.
    const told = live && notify ? name : null;
    const target = { id, task, chunked: chunking !== null, sparse: isSparse(options), told };
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
      const done = await traced(
        'write',
        { 'pgembedder.pipeline': served.pipeline.name, 'pgembedder.rows': left.length },
        () =>
          persist(this.#context, () =>
            inTime('writing to its target', () =>
              completeJobs(tables, target, left, served.pipeline.model, vectorOid),
            ),
          ),
      ).catch((error: unknown) => this.#waitForTable(served, error));
      if (!done) continue;
      const ms = performance.now() - begin;
      this.#count(
        served,
        left.filter(({ job }) => done.has(job.rowKey)),
        ms,
      );
      this.#lockedRows.free(id, done);
      this.#pace.note(
        id,
        left.reduce((sum, result) => sum + rowsOf(result), 0),
        ms,
      );
      left = left.filter(({ job }) => !done.has(job.rowKey));
      if (left.length === 0) break;

      const unsettled = left.map(({ job }) => job);
      const held = await persist(this.#context, () => heldJobs(database, this.#context.claimant, unsettled));
      this.#countSuperseded(served, left.filter(({ job }) => !held.has(job.rowKey)).length);
      left = left.filter(({ job }) => held.has(job.rowKey));
      if (left.length > 0 && attempt === LOCKED_RETRIES) {
        const delayed = groupBy(
          left.map(({ job }) => job),
          (job) => this.#lockedRows.delay(job),
        );
        for (const [seconds, jobs] of delayed) await this.#setbacks.release(jobs, seconds);
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
function fullStatement(results: readonly Result[], most = ROWS_PER_STATEMENT): number {
  let rows = 0;
  const last = results.findIndex((result) => {
    rows += rowsOf(result);
    return rows >= most;
  });
  return last + 1;
}

function rowsOf({ output }: Result): number {
  return Math.max(1, chunksOf(output).length);
}
