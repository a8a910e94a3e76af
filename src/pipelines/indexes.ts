import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { inItsLetters } from '../database/letters.ts';

/** An index that a filled pipeline lacks, and what builds it. */
export interface MissingIndex {
  /** The pipeline's number. */
  readonly id: number;
  readonly pipeline: string;
  /** To be run one after the other, none of them in a transaction. */
  readonly statements: readonly string[];
  /** What would make the build quicker; null where nothing is to be said. */
  readonly advice: string | null;
}

/** Notes on the register that this worker builds. False: another one does. */
export async function beginBuild(database: Database, workerId: number): Promise<boolean> {
  const { rows } = await sql<{ mine: boolean }>`select embedder.begin_build(${workerId}) as mine`.execute(
    database,
  );
  return rows[0]?.mine ?? false;
}

/** Notes that this worker builds no more. */
export async function endBuild(database: Database, workerId: number): Promise<void> {
  await sql`select embedder.end_build(${workerId})`.execute(database);
}

export async function missingIndexes(database: Database): Promise<MissingIndex[]> {
  const { rows } = await sql<MissingIndex>`
    select id, pipeline, statements, advice from embedder.missing_indexes()`.execute(database);
  return rows;
}

/** Whether the build of a pipeline's index waits for transactions that somebody has open. */
export async function buildWaits(database: Database, pipelineId: number): Promise<boolean> {
  const { rows } = await sql<{ waits: boolean }>`select embedder.build_waits(${pipelineId}) as waits`.execute(
    database,
  );
  return rows[0]!.waits;
}

/** Writes down why the index of a pipeline could not be built, and when it is tried again; null: it is built. */
export async function setIndexError(
  database: Database,
  pipelineId: number,
  error: string | null,
): Promise<void> {
  await inItsLetters((lettered) =>
    sql`select embedder.set_index_error(${pipelineId}, ${error && lettered(error)})`.execute(database),
  );
}
