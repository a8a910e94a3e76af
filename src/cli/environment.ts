import type { Logger } from 'pino';
import { type Config, readConfig } from '../config.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import { readEndpoints } from '../endpoints/read-endpoints.ts';
import type { Variant } from '../model-files/variants.ts';
import { pinnedVariants } from '../models/choice.ts';
import { modelsDirectory } from '../models/places.ts';
import { createModelStore, type ModelStore } from '../models/store.ts';
import { createLogger } from './logger.ts';

/** What every command works with, also one without a database. */
export interface Environment {
  readonly config: Config;
  readonly logger: Logger;
  readonly store: ModelStore;
  /** Servers elsewhere that run models. Read at the first use: most commands need none. @throws UserError */
  readonly endpoints: readonly Endpoint[];
}

/**
 * Reads the settings and opens the log.
 * @param service whether the command runs for long and logs what it does; others log only what is wrong, unless the level is set
 */
export function readEnvironment(service = false): Environment {
  const config = readConfig(process.env);
  const level = service || process.env.PGEMBEDDER_LOG_LEVEL ? config.PGEMBEDDER_LOG_LEVEL : 'warn';
  let endpoints: readonly Endpoint[] | undefined;
  return {
    config,
    logger: createLogger(level),
    store: openStore(config),
    get endpoints() {
      endpoints ??= readEndpoints(config.PGEMBEDDER_ENDPOINTS);
      return endpoints;
    },
  };
}

/** The models that the settings name. @param variants in the order of preference; by default the order for a CPU */
export function openStore(config: Config, variants?: readonly Variant[]): ModelStore {
  return createModelStore({
    directories: [modelsDirectory(config)],
    pinned: pinnedVariants(config),
    variants,
  });
}
