import { join } from 'node:path';
import { Command } from 'commander';
import { messageOf, UserError } from '../errors.ts';
import { checkOnnxFile, checkTokenizer } from '../inference/check-files.ts';
import type { Variant } from '../model-files/variants.ts';
import { catalogEntryOf } from '../models/catalog.ts';
import { type LockedModel, readLock } from '../models/lock.ts';
import { differenceFrom, digestOf } from '../models/pull/digest.ts';
import type { ModelStore } from '../models/store.ts';
import { readEnvironment } from './environment.ts';
import { plural } from './format.ts';
import { colours, print, printJson } from './output.ts';

/** What was found of one model. */
interface Checked {
  model: string;
  ok: boolean;
  /** In a few words what is right, or what is wrong and what to do. */
  found: string;
}

/** `pgembedder models check` */
export function modelsCheckCommand(): Command {
  return new Command('check')
    .description(
      'check sizes, sums, tokenizer and ONNX files of models; without a name, of all that are here',
    )
    .argument('[names...]')
    .option('--json', 'print what was found as JSON')
    .addHelpText(
      'after',
      '\nExits with 1 when a model is not as it should be.\n\nExample:\n  $ pgembedder models check',
    )
    .action(run);
}

async function run(names: string[], options: { json?: boolean }): Promise<void> {
  const { store } = readEnvironment();
  const results: Checked[] = [];
  for (const name of names.length > 0 ? names : allOf(store)) {
    const checked = await checkModel(store, name);
    results.push(checked);
    // Each line as soon as it is known: sums of large files take a while.
    if (!options.json) print(formatChecked(checked));
  }
  if (options.json) printJson(results);
  if (results.some(({ ok }) => !ok)) process.exitCode = 1;
}

/** The models that are here, and those that a lock file says should be. */
function allOf(store: ModelStore): string[] {
  const locked = store.directories.flatMap((directory) => Object.keys(readLock(directory)));
  const names = [...store.list().map(({ name }) => name), ...locked];
  return [...new Set(names.map((name) => catalogEntryOf(name)?.name ?? name))];
}

async function checkModel(store: ModelStore, name: string): Promise<Checked> {
  try {
    return { model: name, ok: true, found: await inspect(store, name) };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { model: name, ok: false, found: error.line };
  }
}

/** @throws UserError for the first thing that is wrong */
async function inspect(store: ModelStore, name: string): Promise<string> {
  const model = store.find(name);
  const folder = catalogEntryOf(name)?.directory ?? name;
  const parent = store.directories.find((directory) => join(directory, folder) === model.directory)!;
  const locked = readLock(parent)[folder];
  const known = locked ? lockedSums(locked) : (catalogEntryOf(name)?.files ?? []);
  for (const file of known) await checkSums(name, join(model.directory, file.path), file);
  checkTokenizer(model);
  const variants = store.list().find((listed) => listed.name === model.name)?.variants ?? [];
  for (const variant of variants) await checkOnnx(store, name, variant);
  const sums =
    known.length === 0
      ? 'no sums known'
      : `${plural(known.length, 'file')} as ${locked ? 'locked' : 'in the catalog'}`;
  return `${model.task}, ${variants.join(', ')}: ${sums}, tokenizer and ONNX files read`;
}

function lockedSums({ files }: LockedModel) {
  return Object.entries(files).map(([path, sums]) => ({ path, ...sums }));
}

async function checkSums(
  name: string,
  path: string,
  expected: { bytes: number; sha256: string },
): Promise<void> {
  const digest = await digestOf(path).catch((error: unknown) => {
    throw damaged(name, `${path} cannot be read: ${messageOf(error)}`);
  });
  const difference = differenceFrom({ ...expected, gitSha1: null }, digest);
  if (difference !== null) throw damaged(name, `${path} is not what it should be: ${difference}`);
}

/** Reads the outline of a variant's file, and looks for the weights that it says lie beside it. */
async function checkOnnx(store: ModelStore, name: string, variant: Variant): Promise<void> {
  const { onnxPath } = store.find(name, undefined, { variant });
  try {
    await checkOnnxFile(onnxPath);
  } catch (error) {
    throw damaged(name, `${onnxPath} cannot be used: ${messageOf(error)}`);
  }
}

function damaged(name: string, what: string): UserError {
  return new UserError(what, { hint: `Pull it again: pgembedder models pull ${name}` });
}

/** One line. */
export function formatChecked({ model, ok, found }: Checked): string {
  return `${ok ? colours.green('ok  ') : colours.red('fail')}  ${colours.bold(model)}  ${found}`;
}
