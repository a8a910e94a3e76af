import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** Puts dead letters back on the queue, of one pipeline or (null) of all; returns how many. */
export async function retryFailed(database: Database, pipeline: string | null): Promise<number> {
  const { rows } = await sql<{ retried: number }>`
    select embedder.retry_failed(${pipeline}) as retried`.execute(database);
  return rows[0]!.retried;
}

/** Puts one row on the queue; its dead letter goes when it has a result. */
export async function retryRow(database: Database, pipeline: string, rowKey: string): Promise<void> {
  await sql`select embedder.enqueue_embed(${pipeline}, ${rowKey}::text)`.execute(database);
}

/** A row that used up its attempts. */
export interface DeadLetter {
  readonly row_key: string;
  readonly attempts: number;
  readonly error: string | null;
  readonly failed_at: Date;
}

/** The newest dead letters of a pipeline. */
export async function newestDeadLetters(
  database: Database,
  pipeline: string,
  most: number,
): Promise<DeadLetter[]> {
  const { rows } = await sql<DeadLetter>`
    select row_key, attempts, error, failed_at from embedder.failed_job where pipeline = ${pipeline}
    order by failed_at desc, row_key limit ${most}`.execute(database);
  return rows;
}
