import { existsSync, readdirSync, statSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { UserError } from '../errors.ts';
import type { FindOptions, LocalModel, ModelDescription, ModelListing } from '../model-files/description.ts';
import { readModelConfig } from '../model-files/model-folder.ts';
import { CPU_VARIANTS, isExternalDataOf, type Variant } from '../model-files/variants.ts';
import { didYouMean } from '../nearest.ts';
import { type ModelOf, type TaskName, taskOf } from '../tasks/tasks.ts';
import { bundledModelsDirectory, type CatalogEntry, catalog, catalogEntryOf } from './catalog.ts';
import { describeModel, forTask, requireTask } from './describe.ts';
import { readLock } from './lock.ts';
import { requireModelName } from './name.ts';
import { chooseOnnx, onnxFilesIn } from './onnx-choice.ts';

/** Finds models in folders on this machine; it never fetches anything. */
export interface ModelStore {
  /** The folders it looks in, in this order; the package's own is the last. */
  readonly directories: readonly string[];
  /** The variants in the order in which they are preferred. */
  readonly variants: readonly Variant[];
  /**
   * The model of this name: a catalog name, `ORG/NAME`, or the name of a folder. What the catalog says wins over the
   * model's own files; these say what the model is for.
   * @throws UserError when it is not there, incomplete, or of a kind that pgembedder cannot run
   */
  find(name: string, task?: undefined, options?: FindOptions): LocalModel;
  /**
   * The same for a task.
   * @throws UserError also when the model is not for this task, and cannot be used for it as well
   */
  find<Task extends TaskName>(name: string, task: Task, options?: FindOptions): ModelOf<Task>;
  find(name: string, task: string | undefined, options?: FindOptions): ModelDescription;
  /** Every folder that looks like a model, the first of each name. Broken ones are listed too. */
  list(): ModelListing[];
}

/** Where a store looks, and what it prefers. */
export interface StoreOptions {
  /** The user's folders, looked in before the one that comes with the package. */
  readonly directories: readonly string[];
  /** The variants in the order in which they are preferred. Default: the order that suits a CPU. */
  readonly variants?: readonly Variant[] | undefined;
  /** The variants to use, by the model's name. */
  readonly pinned?: ReadonlyMap<string, Variant> | undefined;
}

export function createModelStore(options: StoreOptions): ModelStore {
  const { variants = CPU_VARIANTS, pinned = new Map() } = options;
  const directories = [
    ...new Set([
      ...options.directories.map((directory) => resolve(directory)),
      resolve(bundledModelsDirectory),
    ]),
  ];
  const pins = new Map([...pinned].map(([name, variant]) => [shownName(name), variant]));
  function find(name: string, task?: undefined, options?: FindOptions): LocalModel;
  function find<Task extends TaskName>(name: string, task: Task, options?: FindOptions): ModelOf<Task>;
  function find(name: string, task: string | undefined, options?: FindOptions): ModelDescription;
  function find(name: string, task?: string, { variant }: FindOptions = {}): ModelDescription {
    const { directory, parent, entry } = findFolder(directories, name);
    const shown = entry?.name ?? name;
    const found = entry?.task ?? taskOf(readModelConfig(directory)).name;
    if (task !== undefined) {
      requireTask(shown, found, task);
    }
    const locked = readLock(parent)[entry?.directory ?? name];
    const wanted = variant ?? pins.get(shown);
    const onnx = chooseOnnx(shown, directory, { order: variants, wanted }, { locked, entry });
    const model = describeModel(directory, shown, found, entry, onnx);
    return task === undefined ? model : forTask(model, task);
  }
  return { directories, variants, find, list: () => listModels(directories, variants) };
}

/** The name by which a model is known: the catalog's for `ORG/NAME` of a catalog model. */
function shownName(name: string): string {
  return catalogEntryOf(name)?.name ?? name;
}

/** The folder of a model and what the catalog says about it. */
function findFolder(
  directories: readonly string[],
  name: string,
): { directory: string; parent: string; entry: CatalogEntry | undefined } {
  requireModelName(name);
  const entry = catalogEntryOf(name);
  const relative = entry?.directory ?? name;
  const parent = directories.find((each) => existsSync(join(each, relative)));
  if (parent === undefined) {
    const known = [...new Set([...catalog().map((each) => each.name), ...directories.flatMap(namesIn)])];
    throw new UserError(`Model '${name}' is not in ${directories.join(' or ')}`, {
      hint: `${didYouMean(name, known)}Fetch it: pgembedder models pull ${name}; or put its files into your folder, which PGEMBEDDER_MODELS_DIR names. pgembedder models list shows what there is`,
    });
  }
  return { directory: join(parent, relative), parent, entry };
}

function listModels(directories: readonly string[], order: readonly Variant[]): ModelListing[] {
  const found = new Map<string, ModelListing>();
  for (const parent of directories) {
    for (const relative of modelFolders(parent)) {
      const entry = catalogEntryOf(relative);
      const name = entry?.name ?? relative;
      if (!found.has(name)) {
        found.set(name, listing(name, join(parent, relative), parent, entry, order));
      }
    }
  }
  return [...found.values()].sort((a, b) => a.name.localeCompare(b.name));
}

function listing(
  name: string,
  directory: string,
  parent: string,
  entry: CatalogEntry | undefined,
  order: readonly Variant[],
): ModelListing {
  const files = onnxFilesIn(directory, order);
  let task: ModelListing['task'] = null;
  try {
    task = entry?.task ?? taskOf(readModelConfig(directory)).name;
  } catch {
    // Listed without a task: `find` says what is wrong with it.
  }
  return {
    name,
    task,
    directory,
    bundled: parent === resolve(bundledModelsDirectory),
    licence: entry?.licence ?? null,
    variants: files.map(({ variant }) => variant),
    bytes: files[0] ? bytesOf(directory, files[0].path) : null,
  };
}

/** Bytes of an ONNX file and of the files with its weights. */
function bytesOf(directory: string, onnxPath: string): number {
  const beside = readdirSync(dirname(join(directory, onnxPath)))
    .map((name) => join(dirname(onnxPath), name))
    .filter((path) => isExternalDataOf(onnxPath, path));
  return [onnxPath, ...beside].reduce((sum, path) => sum + statSync(join(directory, path)).size, 0);
}

/** Folders one or two levels down (NAME, ORG/NAME) that hold a config.json. */
function modelFolders(parent: string): string[] {
  return subfolders(parent).flatMap((name) =>
    existsSync(join(parent, name, 'config.json'))
      ? [name]
      : subfolders(join(parent, name))
          .filter((child) => existsSync(join(parent, name, child, 'config.json')))
          .map((child) => `${name}/${child}`),
  );
}

/** The names of the models in a folder. */
function namesIn(parent: string): string[] {
  return modelFolders(parent).map((relative) => catalogEntryOf(relative)?.name ?? relative);
}

function subfolders(parent: string): string[] {
  if (!existsSync(parent)) {
    return [];
  }
  // Not Dirent.isDirectory: a model folder may be a link into a shared cache.
  return readdirSync(parent).filter(
    (name) =>
      !name.startsWith('.') &&
      (statSync(join(parent, name), { throwIfNoEntry: false })?.isDirectory() ?? false),
  );
}
