import { homedir } from 'node:os';
import { join, resolve } from 'node:path';

/** Says where models lie; settings as `readConfig` gives them. */
export interface PlaceSettings {
  readonly PGEMBEDDER_MODELS_DIR?: string | undefined;
  readonly XDG_DATA_HOME?: string | undefined;
}

/**
 * The user's models folder, absolute: PGEMBEDDER_MODELS_DIR, else `pgembedder/models` in the place for a user's data
 * (XDG base directories: XDG_DATA_HOME, else ~/.local/share). It may not exist yet.
 */
export function modelsDirectory(settings: PlaceSettings = process.env): string {
  const data = settings.XDG_DATA_HOME || join(homedir(), '.local', 'share');
  return resolve(settings.PGEMBEDDER_MODELS_DIR || join(data, 'pgembedder', 'models'));
}
