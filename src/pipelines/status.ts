import type { Selectable } from 'kysely';
import type { Database } from '../database/database.ts';
import type { Schema } from '../database/schema.ts';

/** How far a pipeline is: a row of the view embedder.status. */
export type PipelineStatus = Selectable<Schema['embedder.status']>;

/** How far all pipelines are, in the order of their names. */
export function readStatus(database: Database): Promise<PipelineStatus[]> {
  return database.selectFrom('embedder.status').selectAll().orderBy('pipeline').execute();
}
