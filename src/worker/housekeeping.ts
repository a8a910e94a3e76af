import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { sql } from 'kysely';
import { messageOf } from '../errors.ts';
import { persist, type WorkerContext } from './context.ts';
import type { IndexBuilder } from './index-builder.ts';
import type { Registry } from './registry.ts';

/** Indexes are built when nothing has come for so long: a load in many small statements has small gaps. */
const QUIET_MS = 3_000;
/** Where there is no such gap, they are built after this. */
const NEVER_QUIET_MS = 60_000;
/** Whether an index is missing, or is to be tried again, is looked at this often in any case. */
const INDEXES_MS = 60_000;
/** Counts are summed up this often. */
const FOLD_MS = 30_000;
/** A count that has not begun when it is to end is looked for again after this. */
const CANCEL_AGAIN_MS = 100;

interface TableChange {
  name: string;
  outcome: 'dropped' | 'followed' | 'broken';
  problem: string | null;
}

/**
 * What a worker does beside the queue: follows changes of the tables, notes which pipelines are filled, has indexes built
 * and generations made live. Nobody waits for it: an index can take hours, and new rows must not.
 */
export class Housekeeping {
  readonly #context: WorkerContext;
  readonly #registry: Registry;
  readonly #indexes: IndexBuilder;
  #lastClaim = performance.now();
  #lastFold = 0;
  /** Since when indexes are to be looked after; undefined when they are as they should be. */
  #indexesDueSince: number | undefined = performance.now();
  #under: Promise<void> | undefined;
  #building: Promise<void> | undefined;
  #lastIndexes = performance.now();
  /** Counting reads whole tables: nothing else waits for it. */
  #counting: Promise<void> | undefined;
  /** By which a count that runs is found to be cancelled. */
  readonly #mark = `pgembedder count ${randomUUID()}`;
  /** Tables were followed since a drain has last looked. */
  #followed = false;

  constructor(context: WorkerContext, registry: Registry, indexes: IndexBuilder) {
    this.#context = context;
    this.#registry = registry;
    this.#indexes = indexes;
  }

  /** Jobs were claimed. */
  claimed(): void {
    this.#lastClaim = performance.now();
  }

  /** A declaration has changed. */
  changed(): void {
    this.#indexesDueSince ??= performance.now();
  }

  /** To be called every few seconds. */
  tick(): void {
    this.#under ??= this.#keep().finally(() => {
      this.#under = undefined;
    });
  }

  /** The end of a drain: does all that is to be done. False: look for jobs once more, tables were followed. */
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
    await this.#indexes.cancel();
    // In this order: a tick that is under way may begin a build, which then ends at once.
    await this.#under;
    await this.#building;
    while (this.#counting) {
      await sql`select pg_cancel_backend(pid) from pg_stat_activity
        where state = 'active' and strpos(query, ${this.#mark}) > 0`.execute(this.#context.database);
      await Promise.race([this.#counting, wait(CANCEL_AGAIN_MS)]);
    }
  }

  async #keep(): Promise<void> {
    await this.#try('follow the tables', () => this.#lookAfterTables());
    await this.#try('end backfills', () => this.#endBackfills());
    void this.#count();
    if (this.#registry.filling()) await this.#try('note what is filled', () => this.markFilled());
    const now = performance.now();
    if (now - this.#lastFold > FOLD_MS) await this.#try('sum up the counts', () => this.#fold());
    if (now - this.#lastIndexes > INDEXES_MS) this.#indexesDueSince ??= now;
    if (this.#indexesDueSince === undefined) return;
    if (now - this.#lastClaim < QUIET_MS && now - this.#indexesDueSince < NEVER_QUIET_MS) return;
    this.#indexesDueSince = undefined;
    this.#lastIndexes = now;
    const cutOver = () => this.#try('make generations live', () => this.#cutOver());
    if (this.#building) return cutOver();
    // Beside all the rest: it may take hours, and wait for a session that somebody has left open.
    this.#building = this.#try('build indexes', () => this.#indexes.build())
      .then(cutOver)
      .finally(() => {
        this.#building = undefined;
      });
  }

  /** What fails is said, and keeps nothing else from being done. */
  async #try(what: string, task: () => Promise<void>): Promise<void> {
    try {
      await task();
    } catch (error) {
      if (!this.#context.signal.aborted)
        this.#context.logger.warn({ reason: messageOf(error) }, `could not ${what}`);
    }
  }

  async #lookAfterTables(): Promise<void> {
    const { chores: database } = this.#context;
    const { rows: changed } = await persist(this.#context, () =>
      sql<{ id: number }>`select id from embedder.changed_pipelines() id`.execute(database),
    );
    for (const { id } of changed) await this.#try('follow the tables of a pipeline', () => this.#follow(id));
    if (changed.length > 0) await this.#registry.reload();
    await this.#try('look for changes that no trigger saw', () => this.#lookForUnseen());
  }

  /** Has the rows counted of pipelines in which a backfill has looked for what no trigger saw. */
  async #endBackfills(): Promise<void> {
    await persist(this.#context, () => sql`select embedder.end_backfills()`.execute(this.#context.chores));
  }

  /** Has rows looked at that may have changed while no trigger saw it. */
  async #lookForUnseen(): Promise<void> {
    const { chores: database, logger } = this.#context;
    const { rows } = await persist(this.#context, () =>
      sql<{
        name: string;
        problem: string | null;
      }>`select name, problem from embedder.follow_unseen()`.execute(database),
    );
    for (const { name: pipeline, problem: reason } of rows) {
      if (reason !== null)
        logger.warn({ pipeline, reason }, 'could not look for changes that no trigger saw');
      else
        logger.info({ pipeline }, 'its table may have changed while no trigger saw it: results are compared');
      if (reason === null) this.#followed = true;
    }
  }

  async #follow(pipelineId: number): Promise<void> {
    const { chores, logger } = this.#context;
    const { rows } = await persist(this.#context, () =>
      sql<TableChange>`select name, outcome, problem from embedder.follow_tables(${pipelineId})`.execute(
        chores,
      ),
    );
    for (const { name, outcome, problem } of rows) {
      if (outcome !== 'broken') logger.info({ pipeline: name, outcome }, 'its tables have changed');
      if (outcome === 'followed') this.#followed = true;
      await this.#registry.settle(pipelineId, problem);
    }
  }

  /** Notes which pipelines have ended their first filling. */
  async markFilled(): Promise<void> {
    const { chores: database, logger } = this.#context;
    const { rows } = await persist(this.#context, () =>
      sql<{ name: string }>`select name from embedder.mark_filled() name`.execute(database),
    );
    for (const { name } of rows) logger.info({ pipeline: name }, 'first filling has ended');
    if (rows.length === 0) return;
    this.#indexesDueSince ??= performance.now();
    await this.#registry.reload();
  }

  async #cutOver(): Promise<void> {
    const { chores: database, logger } = this.#context;
    const { rows } = await persist(this.#context, () =>
      sql<{ name: string | null }>`select name from embedder.auto_cutover() name`.execute(database),
    );
    for (const { name } of rows) {
      if (name !== null) logger.info({ pipeline: name }, 'the next generation is live');
      // Somebody's open transaction keeps it from the table: at the next tick again.
      else this.#indexesDueSince ??= performance.now();
    }
    if (rows.length > 0) await this.#registry.reload();
  }

  /** Sums up the counts, and takes what dropped pipelines have left. */
  async #fold(): Promise<void> {
    this.#lastFold = performance.now();
    const { chores } = this.#context;
    await persist(this.#context, () => sql`select embedder.fold_tally()`.execute(chores));
    await persist(this.#context, () =>
      sql`select embedder.clear_books(id) from embedder.gone_pipelines() id`.execute(chores),
    );
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
    const { rows } = await sql<{ id: number }>`select id from embedder.uncounted_pipelines() id`.execute(
      chores,
    );
    for (const { id } of rows)
      await sql`/* ${sql.raw(this.#mark)} */ select embedder.count_pipeline(${id})`.execute(chores);
  }
}
