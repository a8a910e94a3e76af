import { sql } from 'kysely';
import { messageOf } from '../errors.ts';
import type { WorkerContext } from './context.ts';

// Any number, as long as it is always this one: one worker at a time builds indexes.
const INDEX_LOCK = 7_306_372_119;

/**
 * Notes which pipelines have ended their first filling, and builds the indexes that are due. To be called when the
 * queue is empty. `create index concurrently` blocks no writer; it runs here, since it may not run in a transaction.
 */
export async function keepHouse(context: WorkerContext): Promise<void> {
  const filled = await sql<{ name: string }>`select name from embedder.mark_filled() name`.execute(
    context.database,
  );
  for (const { name } of filled.rows) context.logger.info({ pipeline: name }, 'first filling has ended');
  await buildIndexes(context);
}

async function buildIndexes({ database, logger, events }: WorkerContext): Promise<void> {
  await database.connection().execute(async (connection) => {
    const lock = await sql<{ taken: boolean }>`select pg_try_advisory_lock(${INDEX_LOCK}) as taken`.execute(
      connection,
    );
    if (!lock.rows[0]?.taken) return;
    try {
      const { rows } = await sql<{ pipeline: string; statements: string[] }>`
        select pipeline, statements from embedder.missing_indexes()`.execute(connection);
      for (const { pipeline, statements } of rows) {
        const begin = performance.now();
        try {
          for (const statement of statements) await sql.raw(statement).execute(connection);
          const seconds = Math.round(performance.now() - begin) / 1_000;
          logger.info({ pipeline, seconds }, 'index built');
          events.emit('indexed', { pipeline });
        } catch (error) {
          logger.error({ pipeline, reason: messageOf(error) }, 'index could not be built');
        }
      }
    } finally {
      await sql`select pg_advisory_unlock(${INDEX_LOCK})`.execute(connection);
    }
  });
}
