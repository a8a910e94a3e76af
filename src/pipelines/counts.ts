import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { runMarked } from '../database/marked.ts';

/** Sums up the counts of each pipeline, and removes what dropped pipelines have left behind. */
export async function foldCounts(database: Database): Promise<void> {
  await sql`select embedder.fold_tally()`.execute(database);
  await sql`select embedder.clear_books(id) from embedder.gone_pipelines() id`.execute(database);
}

/** The pipelines whose rows are to be counted: they were declared, or something has made their count wrong. */
export async function uncountedPipelines(database: Database): Promise<number[]> {
  const { rows } = await sql<{ id: number }>`select id from embedder.uncounted_pipelines() id`.execute(
    database,
  );
  return rows.map(({ id }) => id);
}

/**
 * Counts the rows of a pipeline, which reads its whole table.
 * @param mark by which the statement can be cancelled
 * @param mostMs it ends after this
 */
export async function countPipeline(
  database: Database,
  pipelineId: number,
  mark: string,
  mostMs: number,
): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    await sql`select set_config('statement_timeout', ${String(mostMs)}, true)`.execute(transaction);
    await runMarked(transaction, mark, `select embedder.count_pipeline(${pipelineId})`);
  });
}
