import { existsSync } from 'node:fs';
import { readdir, rm, rmdir } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Command } from 'commander';
import { UserError } from '../errors.ts';
import { catalogEntryOf } from '../models/catalog.ts';
import { readLock, writeLock } from '../models/lock.ts';
import { requireModelName } from '../models/name.ts';
import { modelsDirectory } from '../models/places.ts';
import { exclusively } from '../models/pull/exclusive.ts';
import { Staging } from '../models/pull/staging.ts';
import { readEnvironment } from './environment.ts';
import { print, printJson, say } from './output.ts';

/** `pgembedder models remove` */
export function modelsRemoveCommand(): Command {
  return new Command('remove')
    .description('remove a model from the models folder and from its models.lock.json')
    .argument('<name>')
    .option('--dir <dir>', 'the models folder (default: PGEMBEDDER_MODELS_DIR, else in ~/.local/share)')
    .option('--json', 'print the name as JSON')
    .addHelpText('after', '\nExample:\n  $ pgembedder models remove Xenova/bge-small-en-v1.5')
    .action(run);
}

async function run(given: string, options: { dir?: string; json?: boolean }): Promise<void> {
  requireModelName(given);
  const directory = resolve(options.dir ?? modelsDirectory(readEnvironment().config));
  const entry = catalogEntryOf(given);
  const name = entry?.directory ?? given;
  const target = join(directory, name);
  if (!existsSync(target) && !(name in readLock(directory))) {
    throw new UserError(`Model '${given}' is not in ${directory}`, {
      hint: entry?.bundled
        ? 'It comes with pgembedder, and stays'
        : 'pgembedder models list shows where models are; --dir names another folder',
    });
  }
  const waits = () => say(`Another process is pulling into ${directory}; waiting for it`);
  await exclusively(directory, waits, async () => {
    const { [name]: locked, ...others } = readLock(directory);
    await rm(target, { recursive: true, force: true });
    if (locked) await writeLock(directory, others);
    await new Staging(directory, name).clear();
    await removeIfEmpty(dirname(target), directory);
  });
  if (options.json) printJson({ model: given, directory: target });
  else print(`${given} removed from ${directory}`);
}

/** Removes the folder of an organisation that has no models left. */
async function removeIfEmpty(folder: string, modelsFolder: string): Promise<void> {
  if (folder === modelsFolder || (await readdir(folder).catch(() => ['?'])).length > 0) return;
  await rmdir(folder);
}
