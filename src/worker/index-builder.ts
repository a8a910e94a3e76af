import { sql } from 'kysely';
import { codeOf } from '../database/errors.ts';
import { messageOf } from '../errors.ts';
import type { WorkerContext } from './context.ts';

// Any number, as long as it is always this one: one worker at a time builds indexes.
const INDEX_LOCK = 7_306_372_119;
const QUERY_CANCELED = '57014';
const INSUFFICIENT_PRIVILEGE = '42501';

interface MissingIndex {
  id: number;
  pipeline: string;
  statements: string[];
  advice: string | null;
}

/**
 * Builds the indexes that filled pipelines lack. `create index concurrently` blocks no writer; a worker runs it, since
 * it may not run in a transaction.
 */
export class IndexBuilder {
  readonly #context: WorkerContext;
  /** The server's process that builds at the moment. */
  #backend: number | undefined;
  #cancelled = false;

  constructor(context: WorkerContext) {
    this.#context = context;
  }

  /** Builds what is missing, unless another worker is at it. */
  async build(): Promise<void> {
    const { database } = this.#context;
    await database.connection().execute(async (connection) => {
      const lock = await sql<{ taken: boolean; backend: number }>`
        select pg_try_advisory_lock(${INDEX_LOCK}) as taken, pg_backend_pid() as backend`.execute(connection);
      if (!lock.rows[0]?.taken) return;
      this.#backend = lock.rows[0].backend;
      try {
        const { rows } = await sql<MissingIndex>`
          select id, pipeline, statements, advice from embedder.missing_indexes()`.execute(connection);
        for (const missing of rows) {
          if (this.#cancelled) return;
          await this.#buildOne(missing, (statement) => sql.raw(statement).execute(connection));
        }
      } finally {
        this.#backend = undefined;
        await sql`select pg_advisory_unlock(${INDEX_LOCK})`.execute(connection);
      }
    });
  }

  /** Ends a build that is under way; what it leaves behind, the next build drops. */
  async cancel(): Promise<void> {
    this.#cancelled = true;
    if (this.#backend === undefined) return;
    await sql`select pg_cancel_backend(${this.#backend})`.execute(this.#context.database);
  }

  async #buildOne(
    { id, pipeline, statements, advice }: MissingIndex,
    execute: (statement: string) => Promise<unknown>,
  ): Promise<void> {
    const { database, logger, events } = this.#context;
    const begin = performance.now();
    if (advice) logger.warn({ pipeline, advice }, 'index is built with little memory');
    try {
      for (const statement of statements) await execute(statement);
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
