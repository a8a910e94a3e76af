import type { Database } from '../../database/database.ts';
import { type InspectedPipeline, inspectPipelines } from '../../pipelines/inspection.ts';
import { liveWorkers } from '../../queue/workers.ts';
import { plural } from '../format.ts';
import type { OpenDatabase } from '../with-database.ts';
import { fail, ok, type Report, warn } from './check.ts';

/** Each pipeline's state and the rights on its tables, and whether a worker lives. */
export async function checkPipelines({ database }: OpenDatabase, add: Report): Promise<void> {
  const pipelines = await inspectPipelines(database);
  for (const pipeline of pipelines) checkPipeline(pipeline, add);
  if (pipelines.length === 0)
    add(warn('pipelines', 'there are none yet', 'Make one: pgembedder pipeline create articles body'));
  await checkWorkers(database, pipelines.length > 0, add);
}

function checkPipeline(pipeline: InspectedPipeline, add: Report): void {
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
  if (pipeline.viewProblem !== null)
    add(
      warn(
        'pipeline',
        `${name} has no view: ${pipeline.viewProblem}`,
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
  const { alive, hosts } = await liveWorkers(database);
  if (alive > 0) add(ok('worker', `${plural(alive, 'live worker')} on ${hosts}`));
  else if (needed) add(warn('worker', 'none is running', 'Start one: pgembedder work'));
}
