import type { Logger } from 'pino';
import { type Config, readConfig } from '../config.ts';
import { pinnedVariants } from '../models/choice.ts';
import { modelsDirectory } from '../models/places.ts';
import { createModelStore, type ModelStore } from '../models/store.ts';
import type { Variant } from '../models/variants.ts';
import { createLogger } from './logger.ts';

/** What a command works with, database or not. */
export interface Environment {
  readonly config: Config;
  readonly logger: Logger;
  readonly store: ModelStore;
}

/**
 * Reads the settings and opens the log.
 * @param service a command that runs for long logs what it does; the others only what is wrong, unless the level is set
 */
export function readEnvironment(service = false): Environment {
  const config = readConfig(process.env);
  const level = service || process.env.PGEMBEDDER_LOG_LEVEL ? config.PGEMBEDDER_LOG_LEVEL : 'warn';
  return { config, logger: createLogger(level), store: openStore(config) };
}

/** The models that the settings name. @param variants in the order of preference; by default as they suit a CPU */
export function openStore(config: Config, variants?: readonly Variant[]): ModelStore {
  return createModelStore({
    directories: [modelsDirectory(config)],
    pinned: pinnedVariants(config),
    variants,
  });
}
