import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { dimensionsOf } from '../model-files/description.ts';
import { packageRoot } from '../package-root.ts';
import { type TaskName, type TaskNamed, tasks } from '../tasks/tasks.ts';

/** The folder with `catalog.json` and the models that come with the package. */
export const bundledModelsDirectory = join(packageRoot, 'models');

/** A file whose size and sum are known, by its path within the model's folder. */
const pinnedFile = z.strictObject({
  path: z.string().min(1),
  bytes: z.int().positive(),
  sha256: z.string().regex(/^[0-9a-f]{64}$/),
});

/** What the catalog says of every model. */
const common = {
  /** The name a pipeline uses. */
  name: z.string().min(1),
  /** `ORG/NAME`: the folder below a models folder, and the name on a hub. */
  directory: z.string().regex(/^[^/]+\/[^/]+$/),
  /** True when the files come with the package. */
  bundled: z.boolean(),
  /** SPDX identifier. */
  licence: z.string().min(1),
  /** The model whose weights these are. */
  source: z.string().min(1),
  /** Tokens that count, special tokens included; what comes after is cut off. */
  max_tokens: z.int().positive(),
  /** How many weights it has: about the size of its int8 variant in bytes. */
  parameters: z.int().positive(),
  /**
   * The files that are known: all of a bundled model, and some ONNX files of the others, since these are what is run.
   * Files that are not listed are checked against the hub's own sums.
   */
  files: z.array(pinnedFile),
};

const catalogSchema = z.strictObject({
  models: z.array(
    z.discriminatedUnion(
      'task',
      // The compiler does not follow the loop.
      tasks.map(({ name, stated }) =>
        z.strictObject({ ...common, task: z.literal(name), ...stated }),
      ) as unknown as [z.ZodType<CatalogEntry> & z.core.$ZodTypeDiscriminable],
    ),
  ),
});

/** A model of the catalog, with what its task has it state. */
export type CatalogEntry = EntryOf<TaskName>;

type EntryOf<Name extends TaskName> = Name extends TaskName
  ? z.infer<z.ZodObject<typeof common>> & { task: Name } & z.infer<z.ZodObject<TaskNamed<Name>['stated']>>
  : never;

let entries: readonly CatalogEntry[] | undefined;

/** The models pgembedder knows, as in `models/catalog.json`: read and checked once per process. */
export function catalog(): readonly CatalogEntry[] {
  entries ??= catalogSchema.parse(
    JSON.parse(readFileSync(join(bundledModelsDirectory, 'catalog.json'), 'utf8')),
  ).models;
  return entries;
}

/** The entry of this name: the catalog name or `ORG/NAME`. */
export function catalogEntryOf(name: string): CatalogEntry | undefined {
  return (
    catalog().find((entry) => entry.name === name) ?? catalog().find((entry) => entry.directory === name)
  );
}

/** The catalog for the table embedder.model; `dimensions` is null for a model without vectors. */
export function catalogModels() {
  return catalog().map((entry) => ({
    name: entry.name,
    task: entry.task,
    dimensions: dimensionsOf(entry),
    max_tokens: entry.max_tokens,
    sparse: false,
  }));
}
