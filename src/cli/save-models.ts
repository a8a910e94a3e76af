import { sql } from 'kysely';
import type { Logger } from 'pino';
import type { Database } from '../database/database.ts';
import { codeOf } from '../database/errors.ts';
import { messageOf } from '../errors.ts';
import type { KnownModel } from '../models/known-models.ts';

/** Makes models known to embedder.create_pipeline. A worker's role need not have the right to: then it is only logged. */
export async function saveModels(
  database: Database,
  models: readonly KnownModel[],
  logger: Logger,
): Promise<void> {
  if (models.length === 0) return;
  try {
    await database
      .insertInto('embedder.model')
      .values([...models])
      .onConflict((conflict) =>
        conflict.column('name').doUpdateSet((row) => ({
          task: row.ref('excluded.task'),
          dimensions: row.ref('excluded.dimensions'),
          max_tokens: row.ref('excluded.max_tokens'),
          seen_at: sql<Date>`now()`,
        })),
      )
      .execute();
    logger.info({ models: models.map(({ name }) => name) }, 'models found');
  } catch (error) {
    // 42501: insufficient_privilege
    if (codeOf(error) !== '42501') throw error;
    logger.warn({ reason: messageOf(error) }, 'models found are not written to embedder.model');
  }
}
