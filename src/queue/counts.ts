import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** The jobs of a pipeline. */
export interface JobCounts {
  /** All of them. */
  readonly jobs: number;
  /** Those that a worker holds. */
  readonly leased: number;
}

export async function countJobs(database: Database, pipeline: string): Promise<JobCounts> {
  const { rows } = await sql<JobCounts>`
    select count(*) as jobs, count(*) filter (where embedder.job_state(j) = 'leased') as leased
    from embedder.job j join embedder.pipeline p on p.id = j.pipeline_id
    where p.name = ${pipeline}`.execute(database);
  return rows[0]!;
}

/** Rows of each pipeline that workers have done in the last minute. */
export async function recentRows(database: Database): Promise<{ pipeline: string; done: number }[]> {
  const { rows } = await sql<{ pipeline: string; done: number }>`
    select pipeline, done from embedder.recent_rows()`.execute(database);
  return rows;
}
