import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** What a pipeline reads and writes. Nothing is counted for it. */
export interface ListedPipeline {
  readonly name: string;
  readonly source: string;
  readonly input: string;
  /** `table.column` */
  readonly target: string;
  readonly model: string;
  /** Null for a task without vectors. */
  readonly dimensions: number | null;
  readonly options: object;
  readonly index: string;
  readonly priority: number;
  readonly max_attempts: number;
  readonly paused: boolean;
  readonly error: string | null;
  readonly created_at: Date;
}

/** All pipelines, in the order of their names. */
export async function listPipelines(database: Database): Promise<ListedPipeline[]> {
  const { rows } = await sql<ListedPipeline>`
    select name, source::text, input, format('%s.%I', target_table, target_column) as target, model, dimensions,
      options, index, priority, max_attempts, paused, coalesce(embedder.missed_by(p), error) as error, created_at
    from embedder.pipeline p order by name`.execute(database);
  return rows;
}

/** What a pipeline that was just made writes to, and by which model. */
export interface MadePipeline {
  /** The sidecar, or `table.column`. */
  readonly target: string;
  readonly model: string;
  readonly dimensions: number | null;
  /** Rows of its source, as far as they are counted. */
  readonly sourceRows: number | null;
}

export async function readMade(database: Database, name: string): Promise<MadePipeline> {
  const { rows } = await sql<MadePipeline>`
    select case when p.sidecar then p.target_table::text else format('%s.%I', p.target_table, p.target_column) end as target,
      p.model, p.dimensions, s.source_rows as "sourceRows"
    from embedder.pipeline p join embedder.status s on s.pipeline = p.name
    where p.name = ${name} and p.live`.execute(database);
  return rows[0]!;
}

/** The models that pipelines use, in the order of their names. */
export async function usedModels(database: Database): Promise<string[]> {
  const rows = await database
    .selectFrom('embedder.pipeline')
    .select('model')
    .distinct()
    .orderBy('model')
    .execute();
  return rows.map(({ model }) => model);
}

/** A generation of a pipeline as it was declared: what create_pipeline takes, by its names. */
export interface DeclaredGeneration {
  readonly generation: number;
  readonly live: boolean;
  readonly declaration: Record<string, string | number | boolean | null>;
}

/** The generations of a pipeline, the live one first; none where there is no such pipeline, or none that this role may see. */
export async function readGenerations(database: Database, name: string): Promise<DeclaredGeneration[]> {
  const { rows } = await sql<DeclaredGeneration>`
    select p.generation, p.live, json_build_object('source', p.source::text, 'input', p.input, 'filter', p.filter, 'task', p.task,
      'model', p.model, 'dimensions', p.dimensions, 'options', nullif(p.options::text, '{}'), 'chunking', p.chunking::text,
      'target', case when p.sidecar then p.target_table::text else format('%s.%I', p.target_table, p.target_column) end,
      'index', p.index, 'priority', p.priority, 'max_attempts', p.max_attempts, 'created_at', p.created_at) as declaration
    from embedder.pipeline p join embedder.status s on s.pipeline = p.name
    where p.name = ${name} order by p.live desc, p.generation`.execute(database);
  return rows;
}
