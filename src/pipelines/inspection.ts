import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** What `pgembedder doctor` looks at in a pipeline. */
export interface InspectedPipeline {
  readonly name: string;
  readonly paused: boolean;
  readonly error: string | null;
  readonly warning: string | null;
  /** Dead letters. */
  readonly failed: number;
  readonly source: string;
  readonly owner: string | null;
  /** Whether this role has the rights of the source's owner. */
  readonly owned: boolean | null;
  /** Whether a worker of this role may call the functions that read and write its rows. */
  readonly served: boolean;
  /** What is missing of its functions and triggers. */
  readonly gaps: readonly string[];
  /** Why it has no view. */
  readonly viewProblem: string | null;
}

export async function inspectPipelines(database: Database): Promise<InspectedPipeline[]> {
  const { rows } = await sql<InspectedPipeline>`
    select p.name, p.paused, coalesce(embedder.missed_by(p), p.error) as error, embedder.warning_of(p) as warning, p.source::text,
      (select count(*) from embedder.dead_letter d where d.pipeline_id = p.id) as failed,
      c.relowner::regrole::text as owner, pg_has_role(c.relowner, 'USAGE') as owned,
      -- Its functions run with the rights of the table's owner: a worker needs none on the tables.
      (select count(*) = 2 from pg_proc f where f.pronamespace = 'embedder'::regnamespace
        and f.proname in (format('pipeline_%s_read', p.id), format('pipeline_%s_complete', p.id)) and has_function_privilege(f.oid, 'execute')) as served,
      array(select embedder.pipeline_gaps(p)) as gaps, embedder.view_problem(p) as "viewProblem"
    from embedder.pipeline p left join pg_class c on c.oid = p.source
    order by p.name`.execute(database);
  return rows;
}

/** Triggers on a table whose pipeline is not declared any more. */
export interface StrayTriggers {
  readonly source: string;
  readonly pipelineId: number;
}

export async function findStrayTriggers(database: Database): Promise<StrayTriggers[]> {
  const { rows } = await sql<StrayTriggers>`
    select source::text, pipeline_id as "pipelineId" from embedder.stray_triggers()`.execute(database);
  return rows;
}
