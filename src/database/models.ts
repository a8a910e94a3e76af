import { type Insertable, sql } from 'kysely';
import type { Database } from './database.ts';
import type { Schema } from './schema.ts';

/** A model as the table embedder.model takes it. */
export type NewModel = Insertable<Schema['embedder.model']>;

/** Makes models known to embedder.create_pipeline. */
export async function saveModels(database: Database, models: readonly NewModel[]): Promise<void> {
  if (models.length === 0) return;
  await database
    .insertInto('embedder.model')
    .values([...models])
    .onConflict((conflict) =>
      conflict.column('name').doUpdateSet((row) => ({
        task: row.ref('excluded.task'),
        dimensions: row.ref('excluded.dimensions'),
        max_tokens: row.ref('excluded.max_tokens'),
        sparse: row.ref('excluded.sparse'),
        seen_at: sql<Date>`now()`,
      })),
    )
    .execute();
}
