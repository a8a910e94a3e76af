import { existsSync, readdirSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { UserError } from '../errors.ts';
import { bundledModelsDirectory, type CatalogEntry, catalog, catalogEntryOf } from './catalog.ts';
import type { ModelDescription, ModelListing } from './description.ts';
import {
  onnxFileOf,
  readMaxTokens,
  readModelConfig,
  readNormalize,
  readPadTokenId,
  readPooling,
  taskOf,
} from './model-folder.ts';

/** Finds models in folders on this machine; it never fetches anything. */
export interface ModelStore {
  /** The folders it looks in, in this order; the package's own is the last. */
  readonly directories: readonly string[];
  /**
   * The feature-extraction model of this name: a catalog name, `ORG/NAME`, or the name of a folder.
   * What the catalog says wins over the model's own files.
   * Raises UserError when it is not there, incomplete, of another task, or of a kind pgembedder cannot run.
   */
  find(name: string): ModelDescription;
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
  return {
    directories,
    find: (name) => findModel(directories, name),
    list: () => listModels(directories),
  };
}

function findModel(directories: readonly string[], name: string): ModelDescription {
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
  return describe(directory, entry?.name ?? name, entry);
}

function describe(directory: string, name: string, entry: CatalogEntry | undefined): ModelDescription {
  const config = readModelConfig(directory);
  const task = entry?.task ?? taskOf(config);
  if (task !== 'feature-extraction') {
    throw new UserError(`Model '${name}' is for ${task}, not for feature-extraction`, {
      hint: `Choose a model that gives vectors, or create the pipeline with task => '${task}'`,
    });
  }
  const own = entry ? null : readPooling(directory);
  const dimensions = entry?.dimensions ?? own?.dimensions ?? config.hidden_size;
  if (!dimensions) {
    throw new UserError(`${join(directory, 'config.json')} does not say how long the vectors are`, {
      hint: 'Add hidden_size to it, or a 1_Pooling/config.json with word_embedding_dimension',
    });
  }
  requireFile(directory, 'tokenizer.json', name);
  return {
    name,
    task,
    directory,
    onnxPath: join(directory, onnxFile(directory, name, entry)),
    expectedSha256: entry?.variants.q8.sha256 ?? null,
    licence: entry?.licence ?? null,
    dimensions,
    maxTokens: entry?.max_tokens ?? readMaxTokens(directory, config),
    pooling: entry?.pooling ?? own?.pooling ?? 'mean',
    normalize: entry?.normalize ?? readNormalize(directory),
    prompts: entry?.prompts ?? { query: '', passage: '' },
    padTokenId: readPadTokenId(directory, config),
  };
}

/** The ONNX file to load, relative to the folder: the one the catalog has a checksum for, else what is there. */
function onnxFile(directory: string, name: string, entry: CatalogEntry | undefined): string {
  if (entry) {
    requireFile(directory, entry.variants.q8.path, name);
    return entry.variants.q8.path;
  }
  return onnxFileOf(directory) ?? requireFile(directory, 'onnx/model_quantized.onnx', name);
}

function requireFile(directory: string, file: string, name: string): string {
  if (!existsSync(join(directory, file))) {
    throw new UserError(`Model '${name}' is incomplete: ${join(directory, file)} is missing`, {
      hint: 'Fetch the model again or copy the file there',
    });
  }
  return file;
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
