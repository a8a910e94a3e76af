import { sql } from 'kysely';
import type { PipelineOptions, PipelineTask } from '../database/column-types.ts';
import type { Database } from '../database/database.ts';
import { inItsLetters } from '../database/letters.ts';

/** A declared pipeline, as far as a worker needs it. */
export interface Pipeline {
  readonly id: number;
  readonly name: string;
  readonly model: string;
  readonly task: PipelineTask;
  /** Numbers in a vector of the target; null for a task without vectors. */
  readonly dimensions: number | null;
  readonly options: PipelineOptions;
  /** How its texts are cut, as embedder.create_pipeline has checked it; null where rows are taken whole. */
  readonly chunking: object | null;
  readonly priority: number;
  readonly maxAttempts: number;
  /** Whether each completed batch is told on the channel embedder_done. */
  readonly notify: boolean;
  readonly paused: boolean;
  /** Whether it is the one that searches use; else the next generation of that. */
  readonly live: boolean;
  /** Whether its first filling has ended. */
  readonly filled: boolean;
  /** What the database says is wrong with the pipeline as a whole; null when nothing is. */
  readonly error: string | null;
}

/** Every pipeline, the highest priority first. */
export async function loadPipelines(database: Database): Promise<Pipeline[]> {
  const rows = await database
    .selectFrom('embedder.pipeline')
    .select([
      'id',
      'name',
      'model',
      'task',
      'dimensions',
      'chunking',
      'priority',
      'max_attempts',
      'paused',
      'live',
      sql<boolean>`coalesce(notify, false)`.as('notify'),
      'error',
      // An earlier version let an option be null, which meant that it was not given.
      sql<PipelineOptions>`jsonb_strip_nulls(options)`.as('options'),
      sql<boolean>`filled_at is not null`.as('filled'),
    ])
    .orderBy('priority', 'desc')
    .orderBy('id')
    .execute();
  return rows.map(({ max_attempts, ...row }) => ({ ...row, maxAttempts: max_attempts }));
}

/** Writes an error that concerns the whole pipeline where `embedder.status` shows it; null clears it. */
export async function setPipelineError(
  database: Database,
  pipelineId: number,
  message: string | null,
): Promise<void> {
  await inItsLetters((lettered) =>
    sql`select embedder.set_pipeline_error(${pipelineId}, ${message && lettered(message)})`.execute(database),
  );
}

/**
 * Asks what is wrong with the pipeline's tables. When nothing is wrong (a renamed table or column is right), its functions
 * are made again and the answer is null. It is undefined when the pipeline was dropped.
 */
export async function refreshPipeline(
  database: Database,
  pipelineId: number,
): Promise<string | null | undefined> {
  const { rows } = await sql<{ problem: string | null }>`
    select embedder.refresh_pipeline(p.id) as problem from embedder.pipeline p where p.id = ${pipelineId}`.execute(
    database,
  );
  return rows[0]?.problem;
}
