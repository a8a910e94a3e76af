import { randomUUID } from 'node:crypto';
import { setTimeout as wait } from 'node:timers/promises';
import { sql } from 'kysely';
import { codeOf } from '../database/errors.ts';
import { messageOf } from '../errors.ts';
import type { WorkerContext } from './context.ts';

const QUERY_CANCELED = '57014';
const INSUFFICIENT_PRIVILEGE = '42501';
/** A build that has not begun when it is to end is looked for again after this. */
const CANCEL_AGAIN_MS = 100;

interface MissingIndex {
  id: number;
  pipeline: string;
  statements: string[];
  advice: string | null;
}

/**
 * Builds the indexes that filled pipelines lack. `create index concurrently` blocks no writer; a worker runs it, since
 * it may not run in a transaction.
 *
 * Nothing here needs a session, which a pooler in transaction mode does not keep: who builds is written on the register
 * of workers, and the statements bear a mark by which one that runs is found to be cancelled.
 */
export class IndexBuilder {
  readonly #context: WorkerContext;
  readonly #mark = `pgembedder index ${randomUUID()}`;
  #building = false;
  #cancelled = false;

  constructor(context: WorkerContext) {
    this.#context = context;
  }

  /** Builds what is missing, unless another worker is at it. */
  async build(): Promise<void> {
    const { chores: database, claimant } = this.#context;
    this.#building = true;
    try {
      const { rows } = await sql<{ mine: boolean }>`
        select embedder.begin_build(${claimant.workerId}) as mine`.execute(database);
      if (!rows[0]?.mine) return;
      try {
        await this.#buildAll();
      } finally {
        await sql`select embedder.end_build(${claimant.workerId})`.execute(database);
      }
    } finally {
      this.#building = false;
    }
  }

  /** Ends a build that is under way; what it leaves behind, the next build drops. */
  async cancel(): Promise<void> {
    this.#cancelled = true;
    while (this.#building) {
      await sql`select pg_cancel_backend(pid) from pg_stat_activity
        where state = 'active' and strpos(query, ${this.#mark}) > 0`.execute(this.#context.chores);
      await wait(CANCEL_AGAIN_MS);
    }
  }

  async #buildAll(): Promise<void> {
    const { rows } = await sql<MissingIndex>`
      select id, pipeline, statements, advice from embedder.missing_indexes()`.execute(this.#context.chores);
    for (const missing of rows) {
      if (this.#cancelled) return;
      await this.#buildOne(missing);
    }
  }

  async #buildOne({ id, pipeline, statements, advice }: MissingIndex): Promise<void> {
    const { chores: database, logger, events } = this.#context;
    const begin = performance.now();
    if (advice) logger.warn({ pipeline, advice }, 'index is built with little memory');
    try {
      for (const statement of statements) {
        if (this.#cancelled) return;
        await sql.raw(`/* ${this.#mark} */ ${statement}`).execute(database);
      }
      const seconds = Math.round(performance.now() - begin) / 1_000;
      logger.info({ pipeline, seconds }, 'index built');
      events.emit('indexed', { pipeline });
    } catch (error) {
      if (codeOf(error) === QUERY_CANCELED) {
        logger.info({ pipeline }, 'index build was cancelled');
        return;
      }
      const way =
        codeOf(error) === INSUFFICIENT_PRIVILEGE
          ? `. Let the worker's role be a member of the table's owner, or run: ${statements.at(-1)}`
          : '';
      const reason = `index could not be built: ${messageOf(error)}${way}`;
      logger.error({ pipeline, reason }, 'index could not be built');
      await sql`select embedder.set_index_error(${id}, ${reason})`.execute(database);
    }
  }
}
