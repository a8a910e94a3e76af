import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** What the metrics say of a generation of a pipeline; see embedder.queue_metrics in SQL. */
export interface QueueMetrics {
  readonly pipeline: string;
  readonly generation: number;
  readonly state: string;
  /** Null while a worker has yet to count them. */
  readonly source_rows: number | null;
  readonly embedded_rows: number;
  readonly pending: number;
  readonly leased: number;
  readonly failed: number;
  readonly backfill_rows: number;
  readonly oldest_due_seconds: number;
}

export async function readQueueMetrics(database: Database): Promise<QueueMetrics[]> {
  const { rows } = await sql<QueueMetrics>`select * from embedder.queue_metrics()`.execute(database);
  return rows;
}
