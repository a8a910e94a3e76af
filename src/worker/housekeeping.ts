import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { cancelMarked } from '../database/marked.ts';
import { messageOf } from '../errors.ts';
import { changedPipelines, followTables, followUnseen } from '../pipelines/changes.ts';
import { countPipeline, foldCounts, uncountedPipelines } from '../pipelines/counts.ts';
import { cutOverFilled, endBackfills, markFilled } from '../pipelines/filling.ts';
import { persist, type WorkerContext } from './context.ts';
import type { IndexBuilder } from './index-builder.ts';
import type { ServedPipelines } from './served-pipelines.ts';

/** Indexes are built when no job has come for this long: a load in many small statements has small gaps. */
const QUIET_MS = 3_000;
/** Where there is no such gap, indexes are built after this time. */
const NEVER_QUIET_MS = 60_000;
/** In any case it looks this often whether an index is missing or is to be tried again. */
const INDEXES_MS = 60_000;
/** Counts are summed up this often. */
const FOLD_MS = 30_000;
/** A count that took too long is tried again after this. */
const COUNT_AGAIN_MS = 30 * 60_000;
/** A count may not have begun yet when it is to be cancelled: it is looked for again after this. */
const CANCEL_AGAIN_MS = 100;

/**
 * What a worker does beside the queue: follows changes of the tables, notes which pipelines are filled, has indexes built
 * and generations made live. New rows wait for none of it but the first look at the tables: an index can take hours.
 */
export class Housekeeping {
  readonly #context: WorkerContext;
  readonly #pipelines: ServedPipelines;
  readonly #indexes: IndexBuilder;
  #lastClaim = performance.now();
  #lastFold = 0;
  /** Since when there is something to do about indexes; undefined when there is nothing. */
  #indexesDueSince: number | undefined = performance.now();
  #under: Promise<void> | undefined;
  #building: Promise<void> | undefined;
  #lastIndexes = performance.now();
  /** Counting reads whole tables: nothing else waits for it. */
  #counting: Promise<void> | undefined;
  /** When pipelines that could not be counted are tried again. */
  readonly #countAgainAt = new Map<number, number>();
  #stopping = false;
  /** By this mark a running count is found when it is to be cancelled. */
  readonly #mark = `pgembedder count ${randomUUID()}`;
  /** Whether tables were followed since a drain last looked. */
  #followed = false;

  constructor(context: WorkerContext, pipelines: ServedPipelines, indexes: IndexBuilder) {
    this.#context = context;
    this.#pipelines = pipelines;
    this.#indexes = indexes;
  }

  /** Whether something is under way. */
  get isBusy(): boolean {
    return [this.#under, this.#building, this.#counting].some((work) => work !== undefined);
  }

  /** Jobs were claimed. */
  claimed(): void {
    this.#lastClaim = performance.now();
  }

  /** A declaration has changed. */
  changed(): void {
    this.#indexesDueSince ??= performance.now();
  }

  /** To be called every few seconds. Resolves when the tables were looked at and no job is locked for it any more, and goes on. */
  async tick(): Promise<void> {
    if (this.#under) return;
    await new Promise<void>((looked) => {
      this.#under = this.#keep(looked).finally(() => {
        this.#under = undefined;
        looked();
      });
    });
  }

  /** The end of a drain: does all that is left to do. False: tables were followed, so look for jobs once more. */
  async finish(): Promise<boolean> {
    await this.#under;
    await this.#building;
    await this.#lookAfterTables();
    if (this.#followed) {
      this.#followed = false;
      return false;
    }
    await this.#endBackfills();
    await this.markFilled();
    await this.#indexes.build();
    await this.#cutOver();
    await this.#fold();
    await this.#count();
    return true;
  }

  /** Ends what is under way. */
  async stop(): Promise<void> {
    this.#stopping = true;
    await this.#indexes.cancel();
    // In this order: a tick that is under way may begin a build, which then ends at once.
    await this.#under;
    await this.#building;
    while (this.#counting) {
      await cancelMarked(this.#context.database, this.#mark);
      await Promise.race([this.#counting, wait(CANCEL_AGAIN_MS)]);
    }
  }

  async #keep(looked: () => void): Promise<void> {
    await this.#try('follow the tables', () => this.#lookAfterTables());
    await this.#try('end backfills', () => this.#endBackfills());
    void this.#count();
    if (this.#pipelines.filling()) await this.#try('note what is filled', () => this.markFilled());
    looked();
    const now = performance.now();
    if (now - this.#lastFold > FOLD_MS) await this.#try('sum up the counts', () => this.#fold());
    if (now - this.#lastIndexes > INDEXES_MS) this.#indexesDueSince ??= now;
    if (this.#indexesDueSince === undefined) return;
    if (now - this.#lastClaim < QUIET_MS && now - this.#indexesDueSince < NEVER_QUIET_MS) return;
    this.#indexesDueSince = undefined;
    this.#lastIndexes = now;
    const cutOver = () => this.#try('make generations live', () => this.#cutOver());
    if (this.#building) return cutOver();
    // Nothing waits for this: it may take hours, or wait for a session that somebody has left open.
    this.#building = this.#try('build indexes', () => this.#indexes.build())
      .then(cutOver)
      .finally(() => {
        this.#building = undefined;
      });
  }

  /** An error goes to the log, and keeps nothing else from being done. */
  async #try(what: string, task: () => Promise<void>, failed: () => void = () => {}): Promise<void> {
    try {
      await task();
    } catch (error) {
      failed();
      if (!this.#context.signal.aborted)
        this.#context.logger.warn({ reason: messageOf(error) }, `could not ${what}`);
    }
  }

  async #lookAfterTables(): Promise<void> {
    const { chores: database } = this.#context;
    const changed = await persist(this.#context, () => changedPipelines(database));
    for (const id of changed) await this.#try('follow the tables of a pipeline', () => this.#follow(id));
    if (changed.length > 0) await this.#pipelines.reload();
    await this.#try('look for changes that no trigger saw', () => this.#lookForUnseen());
  }

  /** Where a backfill has looked for changes that no trigger saw, has the pipeline's rows counted. */
  async #endBackfills(): Promise<void> {
    await persist(this.#context, () => endBackfills(this.#context.chores));
  }

  /** Has rows compared that may have changed while no trigger saw it. */
  async #lookForUnseen(): Promise<void> {
    const { chores: database, logger } = this.#context;
    for (const { name: pipeline, problem: reason } of await persist(this.#context, () =>
      followUnseen(database),
    )) {
      if (reason !== null) {
        logger.warn({ pipeline, reason }, 'could not look for changes that no trigger saw');
        continue;
      }
      logger.info({ pipeline }, 'its table may have changed while no trigger saw it: results are compared');
      this.#followed = true;
    }
  }

  async #follow(pipelineId: number): Promise<void> {
    const { chores, logger } = this.#context;
    const change = await persist(this.#context, () => followTables(chores, pipelineId));
    if (!change) return;
    const { name, outcome, problem } = change;
    if (outcome !== 'broken') logger.info({ pipeline: name, outcome }, 'its tables have changed');
    if (outcome === 'followed') this.#followed = true;
    await this.#pipelines.looked(pipelineId, problem);
  }

  /** Notes which pipelines have ended their first filling. */
  async markFilled(): Promise<void> {
    const { chores: database, logger } = this.#context;
    const filled = await persist(this.#context, () => markFilled(database));
    for (const pipeline of filled) logger.info({ pipeline }, 'first filling has ended');
    if (filled.length === 0) return;
    this.#indexesDueSince ??= performance.now();
    await this.#pipelines.reload();
  }

  async #cutOver(): Promise<void> {
    const { chores: database, logger } = this.#context;
    const cutOver = await persist(this.#context, () => cutOverFilled(database));
    for (const pipeline of cutOver) {
      if (pipeline !== null) logger.info({ pipeline }, 'the next generation is live');
      // Somebody's open transaction keeps it from the table: the next tick tries again.
      else this.#indexesDueSince ??= performance.now();
    }
    if (cutOver.length > 0) await this.#pipelines.reload();
  }

  /** Sums up the counts, and removes what dropped pipelines have left behind. */
  async #fold(): Promise<void> {
    this.#lastFold = performance.now();
    await persist(this.#context, () => foldCounts(this.#context.chores));
  }

  /** Counts the rows of pipelines that were declared or changed. */
  #count(): Promise<void> {
    this.#counting ??= this.#countAll()
      .catch((error: unknown) => {
        if (!this.#context.signal.aborted)
          this.#context.logger.warn({ reason: messageOf(error) }, 'could not count rows');
      })
      .finally(() => {
        this.#counting = undefined;
      });
    return this.#counting;
  }

  async #countAll(): Promise<void> {
    const { chores } = this.#context;
    for (const id of await uncountedPipelines(chores)) {
      if (this.#stopping) return;
      if ((this.#countAgainAt.get(id) ?? 0) > performance.now()) continue;
      this.#countAgainAt.delete(id);
      await this.#try(
        `count the rows of pipeline ${id}`,
        () => countPipeline(chores, id, this.#mark),
        () => this.#countAgainAt.set(id, performance.now() + COUNT_AGAIN_MS),
      );
    }
  }
}
