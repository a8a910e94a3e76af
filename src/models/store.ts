import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UserError } from '../errors.ts';
import { bundledModelsDirectory, type CatalogEntry, catalog, catalogEntryOf } from './catalog.ts';
import { describeModel, forTask, requireTask } from './describe.ts';
import type { ModelDescription, ModelListing, ModelOf, ModelTask } from './description.ts';
import { onnxFileOf, readModelConfig, taskOf } from './model-folder.ts';

/** Finds models in folders on this machine; it never fetches anything. */
export interface ModelStore {
  /** The folders it looks in, in this order; the package's own is the last. */
  readonly directories: readonly string[];
  /**
   * The model of this name: a catalog name, `ORG/NAME`, or the name of a folder. What the catalog says wins over the
   * model's own files; what the model is for follows from them.
   * Raises UserError when it is not there, incomplete, or of a kind pgembedder cannot run.
   */
  find(name: string): ModelDescription;
  /**
   * The same, and a UserError when the model is not for this task. A model that gives vectors is one for zero-shot
   * classification as well.
   */
  find<Task extends ModelTask>(name: string, task: Task): ModelOf<Task>;
  /** Every folder that looks like a model, the first of each name. Broken ones are listed too. */
  list(): ModelListing[];
}

/** A folder name, or ORG/NAME. Dots may not lead, so that no name walks out of the folder. */
const namePattern = /^[\w-][\w.-]*(?:\/[\w-][\w.-]*)?$/;

/** `directories` are the user's folders, looked in before the one that comes with the package. */
export function createModelStore(options: { directories: readonly string[] }): ModelStore {
  const directories = [
    ...new Set([
      ...options.directories.map((directory) => resolve(directory)),
      resolve(bundledModelsDirectory),
    ]),
  ];
  function find(name: string): ModelDescription;
  function find<Task extends ModelTask>(name: string, task: Task): ModelOf<Task>;
  function find(name: string, task?: ModelTask): ModelDescription {
    const { directory, entry } = findFolder(directories, name);
    const shown = entry?.name ?? name;
    const found = entry?.task ?? taskOf(readModelConfig(directory));
    if (task !== undefined) {
      requireTask(shown, found, task);
    }
    const model = describeModel(directory, shown, found, entry);
    return task === undefined ? model : forTask(model, task);
  }
  return { directories, find, list: () => listModels(directories) };
}

/** The folder of a model and what the catalog says about it. */
function findFolder(
  directories: readonly string[],
  name: string,
): { directory: string; entry: CatalogEntry | undefined } {
  if (!namePattern.test(name)) {
    throw new UserError(`'${name}' is not a model name`, {
      hint: 'Use a catalog name such as all-MiniLM-L6-v2, or ORG/NAME',
    });
  }
  const entry = catalogEntryOf(name);
  const directory = directories
    .map((parent) => join(parent, entry?.directory ?? name))
    .find((candidate) => existsSync(candidate));
  if (!directory) {
    const known = catalog()
      .map((each) => each.name)
      .join(', ');
    throw new UserError(`Model '${name}' is not in ${directories.join(' or ')}`, {
      hint: `Put its files in one of these folders (PGEMBEDDER_MODELS_DIR names yours); known by name are ${known}`,
    });
  }
  return { directory, entry };
}

function listModels(directories: readonly string[]): ModelListing[] {
  const found = new Map<string, ModelListing>();
  for (const parent of directories) {
    for (const relative of modelFolders(parent)) {
      const entry = catalogEntryOf(relative);
      const name = entry?.name ?? relative;
      if (!found.has(name)) {
        found.set(name, listing(name, join(parent, relative), parent, entry));
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
): ModelListing {
  const file = onnxFileOf(directory);
  let task: ModelListing['task'] = null;
  try {
    task = entry?.task ?? taskOf(readModelConfig(directory));
  } catch {
    // Listed without a task: `find` says what is wrong with it.
  }
  return {
    name,
    task,
    directory,
    bundled: parent === resolve(bundledModelsDirectory),
    licence: entry?.licence ?? null,
    bytes: file ? statSync(join(directory, file)).size : null,
  };
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
