import { sql } from 'kysely';
import type { PipelineOptions } from '../database/column-types.ts';
import type { Database } from '../database/database.ts';

/** What `definePipeline` takes: the arguments of `embedder.create_pipeline` in camel case. */
export interface PipelineDefinition {
  /** The table, as SQL writes it: `articles`, `blog.articles`, `"Mixed Case"`. */
  source: string;
  /** A column, or a template: `{title}\n{body}`. */
  input: string;
  /** Default: the source table's name. */
  name?: string;
  /** A catalog name, or a hub's ORG/NAME. Default: `all-MiniLM-L6-v2`. */
  model?: string;
  task?: string;
  /** A column of the source, added when missing. Default: a sidecar table. */
  targetColumn?: string;
  /** The sidecar's name. Default: `<name>_embedding` in the source's schema. */
  targetTable?: string;
  /** How texts are cut, for a sidecar with one row a chunk: `{ strategy: 'recursive', size: 256, overlap: 32 }`. */
  chunking?: object;
  options?: PipelineOptions;
  /** SQL condition on a row of the source; rows that do not meet it get no result. */
  filter?: string;
  /** Built after the first filling. Default: `hnsw`. */
  index?: 'hnsw' | 'ivfflat' | 'none';
  /** m, ef_construction, lists, operator_class. */
  indexOptions?: object;
  priority?: number;
  maxAttempts?: number;
  /** Whether workers tell of each completed batch by NOTIFY on the channel embedder_done. Default: false. */
  notify?: boolean;
  /** Whether the rows that are there already are queued. Default: true. */
  enqueueExisting?: boolean;
  /** Whether a pipeline of that name is left as it is instead of being an error. */
  ifNotExists?: boolean;
}

/** What `alterPipeline` may change; what is left out stays. */
export interface PipelineChange
  extends Partial<Omit<PipelineDefinition, 'source' | 'name' | 'enqueueExisting' | 'ifNotExists'>> {
  newName?: string;
  /** Whether a worker makes the next generation live when it is filled and indexed. Default: false. */
  autoCutover?: boolean;
  /** Whether the old generation's target goes at the cutover. Default: true. */
  dropOld?: boolean;
}

/** The type of each argument of embedder.create_pipeline and embedder.alter_pipeline, by its name in TypeScript. */
const TYPES: Readonly<Record<keyof PipelineDefinition | keyof PipelineChange, string>> = {
  source: 'regclass',
  input: 'text',
  name: 'text',
  newName: 'text',
  model: 'text',
  task: 'text',
  targetColumn: 'text',
  targetTable: 'text',
  chunking: 'jsonb',
  options: 'jsonb',
  filter: 'text',
  index: 'text',
  indexOptions: 'jsonb',
  priority: 'int',
  maxAttempts: 'int',
  notify: 'boolean',
  enqueueExisting: 'boolean',
  ifNotExists: 'boolean',
  autoCutover: 'boolean',
  dropOld: 'boolean',
};

/**
 * Declares a pipeline: what `select embedder.create_pipeline(...)` does.
 * @returns the pipeline's name
 * @throws pg.DatabaseError with a hint, as PostgreSQL raised it
 */
export async function definePipeline(database: Database, definition: PipelineDefinition): Promise<string> {
  const { rows } = await sql<{ name: string }>`
    select embedder.create_pipeline(${namedArguments(definition)}) as name`.execute(database);
  return rows[0]!.name;
}

/**
 * Changes a pipeline: what `select embedder.alter_pipeline(...)` does.
 * @returns `changed`, or `next generation` when results change and a new target is being filled
 * @throws pg.DatabaseError with a hint, as PostgreSQL raised it
 */
export async function alterPipeline(
  database: Database,
  name: string,
  change: PipelineChange,
): Promise<'changed' | 'next generation'> {
  const { rows } = await sql<{ done: 'changed' | 'next generation' }>`
    select embedder.alter_pipeline(${namedArguments({ name, ...change })}) as done`.execute(database);
  return rows[0]!.done;
}

/** `name => value, ...` of what is given. */
function namedArguments(given: Partial<PipelineDefinition & PipelineChange>) {
  const parts = Object.entries(given)
    .filter(([, value]) => value !== undefined)
    .map(([key, value]) => {
      const name = key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
      const type = TYPES[key as keyof typeof TYPES];
      // Its error names the table that was meant.
      if (key === 'source') return sql`source => embedder.table_named(${value})`;
      const text = type === 'jsonb' ? JSON.stringify(value) : value;
      return sql`${sql.ref(name)} => ${text}::text::${sql.raw(type)}`;
    });
  return sql.join(parts);
}
