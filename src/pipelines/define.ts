import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import type { PipelineOptions } from '../database/schema.ts';

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
  options?: PipelineOptions;
  /** Built after the first filling. Default: `hnsw`. */
  index?: 'hnsw' | 'ivfflat' | 'none';
  priority?: number;
  maxAttempts?: number;
  /** Whether the rows that are there already are queued. Default: true. */
  enqueueExisting?: boolean;
  /** Whether a pipeline of that name is left as it is instead of being an error. */
  ifNotExists?: boolean;
}

/** SQL parameter name, SQL type and value getter of each argument of embedder.create_pipeline. */
const ARGUMENTS: [name: string, type: string, get: (definition: PipelineDefinition) => unknown][] = [
  ['source', 'regclass', (d) => d.source],
  ['input', 'text', (d) => d.input],
  ['name', 'text', (d) => d.name],
  ['model', 'text', (d) => d.model],
  ['task', 'text', (d) => d.task],
  ['target_column', 'text', (d) => d.targetColumn],
  ['target_table', 'text', (d) => d.targetTable],
  ['options', 'jsonb', (d) => d.options && JSON.stringify(d.options)],
  ['index', 'text', (d) => d.index],
  ['priority', 'int', (d) => d.priority],
  ['max_attempts', 'int', (d) => d.maxAttempts],
  ['enqueue_existing', 'boolean', (d) => d.enqueueExisting],
  ['if_not_exists', 'boolean', (d) => d.ifNotExists],
];

/**
 * Declares a pipeline: what `select embedder.create_pipeline(...)` does.
 * @returns the pipeline's name
 * @throws pg.DatabaseError with a hint, as PostgreSQL raised it
 */
export async function definePipeline(database: Database, definition: PipelineDefinition): Promise<string> {
  const given = ARGUMENTS.map(([name, type, get]) => ({ name, type, value: get(definition) })).filter(
    ({ value }) => value !== undefined,
  );
  const call = given.map(
    ({ name, type, value }) => sql`${sql.ref(name)} => ${value}::text::${sql.raw(type)}`,
  );
  const { rows } = await sql<{
    name: string;
  }>`select embedder.create_pipeline(${sql.join(call)}) as name`.execute(database);
  return rows[0]!.name;
}
