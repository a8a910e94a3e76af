import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { encodeVectors } from '../database/vector-codec.ts';
import type { Job } from './jobs.ts';

/** A job and what came out of it; a null vector empties the target. */
export interface Result {
  readonly job: Job;
  readonly vector: Float32Array | null;
}

/**
 * Reads the input text of each job's row, all of one pipeline.
 * @param maxCharacters texts are cut to this length by the server
 * @returns texts in the order of `jobs`; null where the row is gone or its input is NULL
 */
export async function readInputs(
  database: Database,
  jobs: readonly Job[],
  maxCharacters: number,
): Promise<(string | null)[]> {
  const { rows } = await sql<{ place: number; input: string | null }>`
    select place, input from ${pipelineFunction(jobs, 'read')}(${jobs.map((job) => job.rowKey)}::text[], ${maxCharacters})`.execute(
    database,
  );
  const texts: (string | null)[] = new Array(jobs.length).fill(null);
  for (const row of rows) texts[row.place - 1] = row.input;
  return texts;
}

/**
 * Writes results of one pipeline and deletes their jobs, in one statement, for those whose job still has the version
 * that was claimed.
 * @returns the row keys that are done; the others have changed meanwhile, or somebody has them locked
 */
export async function completeJobs(
  database: Database,
  results: readonly Result[],
  model: string,
  vectorOid: number,
): Promise<Set<string>> {
  const jobs = results.map((result) => result.job);
  const vectors = encodeVectors(
    results.map((result) => result.vector),
    vectorOid,
  );
  const { rows } = await sql<{ row_key: string }>`
    select row_key from ${pipelineFunction(jobs, 'complete')}(
      ${jobs.map((job) => job.rowKey)}::text[], ${jobs.map((job) => job.version)}::xid8[], ${vectors}, ${model}) row_key`.execute(
    database,
  );
  return new Set(rows.map((row) => row.row_key));
}

/** The pipeline's own function of that name; see sql/05_batch.sql. */
function pipelineFunction(jobs: readonly Job[], verb: 'read' | 'complete') {
  return sql.id('embedder', `pipeline_${jobs[0]!.pipelineId}_${verb}`);
}
