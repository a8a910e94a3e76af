import { existsSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

/** Name of PostgreSQL's data folder inside the embedded directory. */
export const DATA_FOLDER = 'pgdata';

/** Written when the first start has succeeded. */
const COMPLETE = join(DATA_FOLDER, 'pgembedder-initialized');

/** Whether there is a data folder that has been started before. */
export function isInitialized(): boolean {
  return existsSync(COMPLETE);
}

/** Notes that the data folder is whole. */
export async function markInitialized(): Promise<void> {
  await writeFile(COMPLETE, '');
}

/**
 * Puts aside a data folder whose initialisation was interrupted: it looks like a database and does not start. Nothing is
 * deleted, since the folder may be something else of the user's. Returns the new name, or undefined.
 */
export async function putAsideIncomplete(): Promise<string | undefined> {
  if (isInitialized() || !existsSync(DATA_FOLDER)) return undefined;
  const folder = `${DATA_FOLDER}.incomplete-${Date.now()}`;
  await rename(DATA_FOLDER, folder);
  return folder;
}

/** The PostgreSQL version that wrote the data folder. */
export async function dataVersion(): Promise<string | undefined> {
  return (await readFile(join(DATA_FOLDER, 'PG_VERSION'), 'utf8').catch(() => undefined))?.trim();
}
