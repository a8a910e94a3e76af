import { sql } from 'kysely';
import { messageOf } from '../../errors.ts';
import type { Database } from '../database.ts';

/** A pipeline whose own functions could not be made again, and why. */
export interface FailedPipeline {
  pipeline: string;
  problem: string;
}

/**
 * Makes the functions of the pipelines that were made from other files of sql/, each pipeline in a transaction of its own.
 * @param upgraded whether a new migration was applied: it may have dropped functions on purpose, and their lack is not told
 * @returns what of pipelines was missing and is there again, one line each; and pipelines for which that failed
 */
export async function followPipelines(
  database: Database,
  upgraded: boolean,
): Promise<{ mended: string[]; failed: FailedPipeline[] }> {
  const mended: string[] = [];
  const failed: FailedPipeline[] = [];
  const { rows } = await sql<{ id: number; name: string; gaps: string[]; lost: boolean }>`
    select p.id, p.name, g.gaps, g.lost from embedder.pipeline p
    cross join lateral (select coalesce(array_agg(g), '{}') as gaps, coalesce(bool_or(g like '%has no trigger%'), false) as lost from embedder.pipeline_gaps(p) g) g
    where exists (select from pg_class where oid = p.source)
      and (g.gaps <> '{}' or p.id in (select embedder.changed_pipelines())) order by p.id`.execute(database);
  for (const { id, name, gaps, lost } of rows) {
    try {
      const problem = await followPipeline(database, id);
      if (problem) failed.push({ pipeline: name, problem });
      else if (gaps.length > 0) {
        if (lost || !upgraded) mended.push(...gaps.map((gap) => `pipeline ${name}: ${gap}`));
        if (lost) mended.push(await findMissed(database, id, name));
      }
    } catch (error) {
      failed.push({ pipeline: name, problem: messageOf(error) });
    }
  }
  return { mended, failed };
}

/** Rows that were written while a trigger was missing. */
async function findMissed(database: Database, id: number, name: string): Promise<string> {
  await sql`select embedder.start_backfill(p, stale => true) from embedder.pipeline p where id = ${id}`.execute(
    database,
  );
  return `pipeline ${name}: rows that were written without its triggers are looked for`;
}

async function followPipeline(database: Database, id: number): Promise<string | null> {
  const { rows } = await sql<{ problem: string | null }>`
    select problem from embedder.follow_tables(${id})`.execute(database);
  if (rows[0]) {
    if (rows[0].problem)
      await sql`select embedder.set_pipeline_error(${id}, ${rows[0].problem})`.execute(database);
    return rows[0].problem;
  }
  const busy = await sql`select from embedder.changed_pipelines() c where c = ${id}`.execute(database);
  return busy.rows.length > 0 ? 'somebody has a transaction open on its table, or is changing it' : null;
}
