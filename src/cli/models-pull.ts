import { basename, join, resolve } from 'node:path';
import { Command, Option } from 'commander';
import type { Config } from '../config.ts';
import { CPU_VARIANTS, type Variant } from '../model-files/variants.ts';
import { catalogEntryOf } from '../models/catalog.ts';
import { type LockedModel, readLock } from '../models/lock.ts';
import { requireModelName } from '../models/name.ts';
import { modelsDirectory } from '../models/places.ts';
import { exclusively } from '../models/pull/exclusive.ts';
import { FolderSource } from '../models/pull/folder-source.ts';
import { Hub } from '../models/pull/hub.ts';
import { PUBLIC_HUB } from '../models/pull/hub-requests.ts';
import { type PullResult, pullModel } from '../models/pull/pull.ts';
import type { ModelSource } from '../models/pull/source.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { UsageError } from './errors.ts';
import { plural } from './format.ts';
import { colours, print, printJson, say } from './output.ts';
import { PullProgress } from './pull-progress.ts';

interface PullFlags {
  revision?: string;
  variant?: Variant;
  update?: boolean;
  dir?: string;
  name?: string;
  json?: boolean;
}

/** What is to be pulled: a model of a hub, or a copy of a folder. */
interface Wanted {
  name: string;
  folder: string | undefined;
}

/** `pgembedder models pull` */
export function modelsPullCommand(): Command {
  return new Command('pull')
    .description('fetch models from a hub or a folder, verified; without a name, all of models.lock.json')
    .argument('[models...]', 'ORG/NAME, or a folder written as ./path or /path')
    .option('--revision <name>', 'a branch, tag or commit (default: the locked commit, else main)')
    .addOption(
      new Option(
        '--variant <name>',
        'which precision (default: the locked ones, else the best here)',
      ).choices([...CPU_VARIANTS]),
    )
    .option('--update', 'leave the locked commit for what its revision is now')
    .option('--dir <dir>', 'the models folder (default: PGEMBEDDER_MODELS_DIR, else in ~/.local/share)')
    .option('--name <name>', 'for a folder: the name of the model (default: the name of the folder)')
    .option('--json', 'print name, folder, commit and variants as JSON')
    .addHelpText(
      'after',
      `
What is pulled is written to models.lock.json in the models folder: who pulls again gets the same commit.
A broken pull goes on where it was.

Example:
  $ pgembedder models pull Xenova/bge-small-en-v1.5
  $ pgembedder models pull ./my-model --name my-org/my-model --variant fp16`,
    )
    .action(run);
}

async function run(models: string[], flags: PullFlags): Promise<void> {
  const environment = readEnvironment();
  const directory = resolve(flags.dir ?? modelsDirectory(environment.config));
  const wanted =
    models.length > 0 ? models.map((model) => parseWanted(model, flags)) : allLocked(directory, flags);
  if (flags.name !== undefined && wanted.some(({ folder }) => folder === undefined))
    throw new UsageError('--name is for a folder', { hint: 'Write the folder as ./path or /path' });
  if (flags.name !== undefined && wanted.length > 1)
    throw new UsageError('--name is for one folder', { hint: 'Pull them one by one' });
  const results: PullResult[] = [];
  for (const { name, folder } of wanted) {
    if (catalogEntryOf(name)?.bundled && folder === undefined) {
      if (!flags.json) print(`${colours.bold(name)} comes with pgembedder`);
      continue;
    }
    const result = await pullOne(environment, directory, name, folder, flags);
    results.push(result);
    if (!flags.json) print(describe(result));
  }
  if (flags.json) printJson(results);
}

function parseWanted(text: string, flags: PullFlags): Wanted {
  const isFolder = /^(\.{0,2}[/\\]|\.{1,2}$|[A-Za-z]:[/\\])/.test(text);
  const folder = isFolder ? resolve(text) : undefined;
  const name = isFolder ? (flags.name ?? basename(folder!)) : (catalogEntryOf(text)?.directory ?? text);
  requireModelName(name);
  return { name, folder };
}

function allLocked(directory: string, flags: PullFlags): Wanted[] {
  const locked = Object.entries(readLock(directory));
  if (locked.length === 0) {
    throw new UsageError(`no model is named, and ${join(directory, 'models.lock.json')} has none`, {
      hint: 'pgembedder models list shows those of the catalog',
    });
  }
  if (flags.revision !== undefined)
    throw new UsageError('--revision is of one model', { hint: 'Name the model that it is of' });
  return locked.map(([name]) => ({ name, folder: undefined }));
}

function pullOne(
  environment: Environment,
  directory: string,
  name: string,
  folder: string | undefined,
  flags: PullFlags,
): Promise<PullResult> {
  const waits = () => say(`Another process is pulling into ${directory}; waiting for it`);
  return exclusively(directory, waits, async (signal) => {
    const from = folder ?? lockedFolder(readLock(directory)[name], flags);
    const report = new PullProgress(name);
    try {
      return await pullModel({
        directory,
        name,
        source: from === undefined ? hubOf(environment.config, signal) : new FolderSource(from),
        from,
        revision: flags.revision,
        // A folder that is named is copied as it is now, whatever was pulled from it before.
        update: flags.update ?? folder !== undefined,
        variant: flags.variant,
        order: environment.store.variants,
        report,
        signal,
      });
    } finally {
      report.stop();
    }
  });
}

/** The folder that a locked model was copied from; a revision means a hub. */
function lockedFolder(locked: LockedModel | undefined, flags: PullFlags): string | undefined {
  return flags.revision === undefined ? locked?.from : undefined;
}

/** The hub of the settings; null offline. */
function hubOf(config: Config, signal: AbortSignal): ModelSource | null {
  if (config.PGEMBEDDER_OFFLINE ?? config.HF_HUB_OFFLINE) return null;
  return new Hub({
    endpoint: config.PGEMBEDDER_HUB_URL ?? config.HF_ENDPOINT ?? PUBLIC_HUB,
    token: config.PGEMBEDDER_HUB_TOKEN ?? config.HF_TOKEN,
    signal,
  });
}

function describe({ name, directory, commit, variants, fetched }: PullResult): string {
  const at = commit === null ? '' : ` at ${commit.slice(0, 12)}`;
  const done = fetched === 0 ? 'all here' : `${plural(fetched, 'file')} fetched`;
  return `${colours.bold(name)} ${variants.join(', ')}${at}: ${done}, in ${directory}`;
}
