import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { packageRoot } from '../package-root.ts';
import { POOLINGS } from './description.ts';

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

const vectorEntry = z.strictObject({
  ...common,
  task: z.literal('feature-extraction'),
  /** Numbers in a vector. */
  dimensions: z.int().positive(),
  pooling: z.enum(POOLINGS),
  normalize: z.boolean(),
  /** Put before a text, by its role; '' for nothing. */
  prompts: z.strictObject({ query: z.string(), passage: z.string() }),
});

/** A model that gives labels; their names are in its `config.json`. */
const labelEntry = z.strictObject({
  ...common,
  task: z.enum(['text-classification', 'zero-shot-classification', 'token-classification']),
});

const catalogSchema = z.strictObject({
  models: z.array(z.discriminatedUnion('task', [vectorEntry, labelEntry])),
});

export type CatalogEntry = z.infer<typeof catalogSchema>['models'][number];

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

/** The catalog for the table embedder.model; `dimensions` is null for a task without vectors. */
export function catalogModels() {
  return catalog().map((entry) => ({
    name: entry.name,
    task: entry.task,
    dimensions: entry.task === 'feature-extraction' ? entry.dimensions : null,
    max_tokens: entry.max_tokens,
  }));
}
