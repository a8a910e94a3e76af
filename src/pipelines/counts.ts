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

/** A count may take a minute, as any statement on a pipeline's tables, and the time to read them at 20 MB a second. */
const COUNT_MS = 60_000;
const BYTES_PER_MS = 20_000;

/**
 * Counts the rows of a pipeline, which reads its whole table. It ends when it takes too long: a filter may never end, and other
 * pipelines are to be counted as well.
 * @param mark by which the statement can be cancelled
 */
export async function countPipeline(database: Database, pipelineId: number, mark: string): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    await sql`select set_config('statement_timeout', least(2147483647, ${COUNT_MS} + coalesce((
        select sum(pg_table_size(m)) from embedder.pipeline p cross join unnest(embedder.members_of(p.source)) m where p.id = ${pipelineId}
      ), 0) / ${BYTES_PER_MS})::bigint::text, true)`.execute(transaction);
    await runMarked(transaction, mark, `select embedder.count_pipeline(${pipelineId})`);
  });
}
