import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** Queues the rows of a pipeline that have no result; returns how many ranges of rows are to be walked. */
export async function startBackfill(
  database: Database,
  pipeline: string,
  { where, force, stale }: { where?: string | undefined; force: boolean; stale: boolean },
): Promise<number> {
  const { rows } = await sql<{ ranges: number }>`
    select embedder.backfill(${pipeline}, ${where ?? null}, ${force}, ${stale}) as ranges`.execute(database);
  return rows[0]!.ranges;
}

/** Has the rows counted of pipelines in which a backfill has looked for what no trigger saw. */
export async function endBackfills(database: Database): Promise<void> {
  await sql`select embedder.end_backfills()`.execute(database);
}

/** Notes which pipelines have ended their first filling; returns their names. */
export async function markFilled(database: Database): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`select name from embedder.mark_filled() name`.execute(
    database,
  );
  return rows.map(({ name }) => name);
}

/**
 * Makes the next generation of pipelines live, where that was asked for and it is filled.
 * @returns their names; null for one whose tables somebody's open transaction keeps
 */
export async function cutOverFilled(database: Database): Promise<(string | null)[]> {
  const { rows } = await sql<{ name: string | null }>`
    select name from embedder.auto_cutover() name`.execute(database);
  return rows.map(({ name }) => name);
}
