import { sql } from 'kysely';
import type { Database } from '../../database/database.ts';
import { plural } from '../format.ts';
import type { Session } from '../session.ts';
import { fail, ok, type Report, warn } from './check.ts';

interface PipelineState {
  name: string;
  paused: boolean;
  error: string | null;
  warning: string | null;
  failed: number;
  source: string;
  owner: string | null;
  owned: boolean | null;
  /** Whether a worker of this role may call what works on it. */
  served: boolean;
  gaps: string[];
  view_problem: string | null;
}

/** Each pipeline's state and the rights on its tables, and whether a worker lives. */
export async function checkPipelines({ database }: Session, add: Report): Promise<void> {
  const { rows } = await sql<PipelineState>`
    select p.name, p.paused, coalesce(p.trigger_error, p.error) as error, embedder.warning_of(p) as warning, p.source::text,
      (select count(*) from embedder.dead_letter d where d.pipeline_id = p.id) as failed,
      c.relowner::regrole::text as owner, pg_has_role(c.relowner, 'USAGE') as owned,
      -- Its functions run with the rights of the table's owner: a worker needs none on the tables.
      (select count(*) = 2 from pg_proc f where f.pronamespace = 'embedder'::regnamespace
        and f.proname in (format('pipeline_%s_read', p.id), format('pipeline_%s_complete', p.id)) and has_function_privilege(f.oid, 'execute')) as served,
      array(select embedder.pipeline_gaps(p)) as gaps, embedder.view_problem(p) as view_problem
    from embedder.pipeline p left join pg_class c on c.oid = p.source
    order by p.name`.execute(database);
  for (const pipeline of rows) checkPipeline(pipeline, add);
  if (rows.length === 0)
    add(warn('pipelines', 'there are none yet', 'Make one: pgembedder pipeline create articles body'));
  await checkWorkers(database, rows.length > 0, add);
}

function checkPipeline(pipeline: PipelineState, add: Report): void {
  const { name, error, paused, failed, source, owner, owned, served, gaps, warning } = pipeline;
  if (error !== null)
    add(fail('pipeline', `${name}: ${error}`, `When it is mended: pgembedder pipeline resume ${name}`));
  for (const gap of gaps) add(fail('pipeline', `${name}: ${gap}`, 'Run: pgembedder migrate'));
  if (warning !== null)
    add(warn('pipeline', `${name}: ${warning}`, 'docs/operations.md, Changes that no trigger sees'));
  if (!served && gaps.length === 0 && error === null)
    add(
      fail(
        'pipeline',
        `${name}: a worker of this role may not work on it`,
        `Run the worker as ${owner} or a member of embedder_worker`,
      ),
    );
  else if (owned === false)
    add(
      warn(
        'pipeline',
        `${name}: ${source} belongs to ${owner}: this role can fill the pipeline, and not build its index`,
        `Run the worker as ${owner} or a member of it`,
      ),
    );
  if (pipeline.view_problem !== null)
    add(
      warn(
        'pipeline',
        `${name} has no view: ${pipeline.view_problem}`,
        `When it is mended: pgembedder pipeline resume ${name}`,
      ),
    );
  if (failed > 0)
    add(
      warn(
        'pipeline',
        `${name}: ${plural(failed, 'dead letter')} in embedder.failed_job`,
        `When the cause is mended: pgembedder retry ${name}`,
      ),
    );
  if (paused) add(warn('pipeline', `${name} is paused`, `pgembedder pipeline resume ${name}`));
  const sound = error === null && gaps.length === 0 && warning === null;
  if (sound && served && owned && failed === 0 && !paused) add(ok('pipeline', `${name} works`));
}

async function checkWorkers(database: Database, needed: boolean, add: Report): Promise<void> {
  const { rows } = await sql<{ alive: number; hosts: string | null }>`
    select count(*) as alive, string_agg(distinct hostname, ', ') as hosts
    from embedder.worker where alive`.execute(database);
  const { alive, hosts } = rows[0]!;
  if (alive > 0) add(ok('worker', `${plural(alive, 'live worker')} on ${hosts}`));
  else if (needed) add(warn('worker', 'none is running', 'Start one: pgembedder work'));
}

/** The models that the pipelines use; the default one where there is no pipeline. */
export async function pipelineModels(database: Database, otherwise: string): Promise<string[]> {
  const rows = await database
    .selectFrom('embedder.pipeline')
    .select('model')
    .distinct()
    .orderBy('model')
    .execute();
  return rows.length > 0 ? rows.map(({ model }) => model) : [otherwise];
}
