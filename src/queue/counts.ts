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
