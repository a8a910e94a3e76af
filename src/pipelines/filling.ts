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

/** Where a backfill has looked for changes that no trigger saw, has the pipeline's rows counted. */
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
 * @returns their names; null in the place of one whose tables an open transaction holds
 */
export async function cutOverFilled(database: Database): Promise<(string | null)[]> {
  const { rows } = await sql<{ name: string | null }>`
    select name from embedder.auto_cutover() name`.execute(database);
  return rows.map(({ name }) => name);
}

/** How far the first filling of a pipeline is. */
export interface Filling {
  /** Rows that wait for their vector. */
  readonly waiting: number;
  /** Whether all that was there at the start is done, and the index is built. */
  readonly finished: boolean;
  readonly paused: boolean;
}

export async function readFilling(database: Database, pipeline: string): Promise<Filling> {
  const { rows } = await sql<Filling>`
    select p.paused, (select count(*) from embedder.job j where j.pipeline_id = p.id) as waiting,
      p.filled_at is not null
        and not exists (select from embedder.missing_indexes() m where m.pipeline = p.name) as finished
    from embedder.pipeline p where p.name = ${pipeline}`.execute(database);
  return rows[0]!;
}
