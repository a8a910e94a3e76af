import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** Puts dead letters back on the queue, of one pipeline or (null) of all; returns how many. */
export async function retryFailed(database: Database, pipeline: string | null): Promise<number> {
  const { rows } = await sql<{ retried: number }>`
    select embedder.retry_failed(${pipeline}) as retried`.execute(database);
  return rows[0]!.retried;
}
