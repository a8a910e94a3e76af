import { sql } from 'kysely';
import type { Logger } from 'pino';
import type { Database } from '../database/database.ts';
import { codeOf } from '../database/errors.ts';
import type { KnownModel } from '../database/migrator.ts';
import { messageOf } from '../errors.ts';
import { catalogModels } from '../models/catalog.ts';
import type { ModelStore } from '../models/store.ts';

/** The catalog's models, and those that lie in the user's own folders, as the table embedder.model holds them. */
export function knownModels(store: ModelStore, logger: Logger): KnownModel[] {
  const known = new Map<string, KnownModel>(catalogModels().map((model) => [model.name, model]));
  for (const model of foundModels(store, logger)) known.set(model.name, model);
  return [...known.values()];
}

/** The models that lie in the user's own folders; broken ones are left out, and named in the log. */
export function foundModels(store: ModelStore, logger: Logger): KnownModel[] {
  return store
    .list()
    .filter(({ bundled }) => !bundled)
    .flatMap(({ name }) => {
      try {
        const model = store.find(name);
        const dimensions = model.task === 'feature-extraction' ? model.dimensions : null;
        return [{ name, task: model.task, dimensions, max_tokens: model.maxTokens }];
      } catch (error) {
        logger.warn({ model: name, reason: messageOf(error) }, 'model left out');
        return [];
      }
    });
}

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
