import type { Logger } from 'pino';
import type { Database } from '../database/database.ts';
import { INSUFFICIENT_PRIVILEGE } from '../database/errors.ts';
import { type NewModel, saveModels } from '../database/models.ts';
import { codeOf, messageOf } from '../errors.ts';

/** Makes the models found known to embedder.create_pipeline. A worker's role need not have the right to: then it is only logged. */
export async function saveFoundModels(
  database: Database,
  models: readonly NewModel[],
  logger: Logger,
): Promise<void> {
  if (models.length === 0) return;
  try {
    await saveModels(database, models);
    logger.info({ models: models.map(({ name }) => name) }, 'models found');
  } catch (error) {
    if (codeOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    logger.warn({ reason: messageOf(error) }, 'models found are not written to embedder.model');
  }
}
