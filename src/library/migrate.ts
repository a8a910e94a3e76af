import type { Database } from '../database/database.ts';
import { type MigrationResult, migrate as migrateDatabase } from '../database/migrate/migrate.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { knownModels } from '../models/known-models.ts';
import { modelsDirectory } from '../models/places.ts';
import { createModelStore } from '../models/store.ts';

/** Which models `embedder.create_pipeline` is to know beside those of the catalog. */
export interface MigrateSettings {
  /** Folders of models. Default: where `pgembedder models pull` puts them. */
  readonly modelDirectories?: readonly string[];
  /** Servers elsewhere that run models, as `readEndpoints` gives them. Default: none. */
  readonly endpoints?: readonly Endpoint[];
}

/**
 * Makes schema `embedder`, or brings it up to date, as `pgembedder migrate` does: the models of the catalog and of the
 * models folder are known to `embedder.create_pipeline` then. Safe to call at each start of an application.
 * @throws UserError where the server is too old, or a right or pgvector is missing
 */
export function migrate(
  database: Database,
  { modelDirectories = [modelsDirectory()], endpoints }: MigrateSettings = {},
): Promise<MigrationResult> {
  return migrateDatabase(
    database,
    knownModels(createModelStore({ directories: modelDirectories }), endpoints),
  );
}
