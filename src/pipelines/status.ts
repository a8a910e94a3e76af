import { type Selectable, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';

/** How far a pipeline is: a row of the view embedder.status. */
export type PipelineStatus = Selectable<Schema['embedder.status']>;

/**
 * How far all pipelines are, in the order of their names. Without JIT: with many pipelines and jobs, compiling the query would take
 * longer than the query.
 */
export function readStatus(database: Database): Promise<PipelineStatus[]> {
  return database.transaction().execute(async (transaction) => {
    await sql`set local jit = off`.execute(transaction);
    return transaction.selectFrom('embedder.status').selectAll().orderBy('pipeline').execute();
  });
}

/** Seconds of an interval as PostgreSQL prints it: `3 days 02:03:04.5`. */
export function intervalSeconds(interval: string): number {
  const [, days = '0', hours = '0', minutes = '0', seconds = '0'] =
    /^(?:(\d+) days? ?)?(?:(\d+):(\d+):([\d.]+))?$/.exec(interval) ?? [];
  return ((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds);
}
