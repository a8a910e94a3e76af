import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { packageRoot } from '../package-root.ts';
import { poolings } from './description.ts';

/** The folder with `catalog.json` and the models that come with the package. */
export const bundledModelsDirectory = join(packageRoot, 'models');

const sha256 = z.string().regex(/^[0-9a-f]{64}$/);

/**
 * A file of a model, by its path within the model's folder. Size and checksum are missing where other publishers'
 * copies of the same model legitimately differ in that file (tokenizer.json is re-serialised by many tools).
 */
const modelFile = z.strictObject({
  path: z.string().min(1),
  bytes: z.int().positive().optional(),
  sha256: sha256.optional(),
});

/** An ONNX file: always pinned, since these are the bytes that are run. */
const variantFile = z.strictObject({ path: z.string().min(1), bytes: z.int().positive(), sha256 });

const catalogEntry = z.strictObject({
  /** The name a pipeline uses. */
  name: z.string().min(1),
  /** `ORG/NAME`: the folder below a models folder, and the name on a hub. */
  directory: z.string().regex(/^[^/]+\/[^/]+$/),
  /** True when the files come with the package. */
  bundled: z.boolean(),
  task: z.enum(['feature-extraction']),
  /** SPDX identifier. */
  licence: z.string().min(1),
  /** The model whose weights these are. */
  source: z.string().min(1),
  /** Numbers in a vector. */
  dimensions: z.int().positive(),
  /** Tokens that count, special tokens included; what comes after is cut off. */
  max_tokens: z.int().positive(),
  pooling: z.enum(poolings),
  normalize: z.boolean(),
  /** Put before a text, by its role; '' for none. */
  prompts: z.strictObject({ query: z.string(), passage: z.string() }),
  /** What has to lie beside the ONNX file. */
  files: z.array(modelFile),
  /** The ONNX file for each precision. */
  variants: z.strictObject({ q8: variantFile }),
});

const catalogSchema = z.strictObject({ models: z.array(catalogEntry) });

export type CatalogEntry = z.infer<typeof catalogEntry>;

let entries: readonly CatalogEntry[] | undefined;

/** The models pgembedder knows, as in `models/catalog.json`: read and checked once per process. */
export function catalog(): readonly CatalogEntry[] {
  entries ??= catalogSchema.parse(
    JSON.parse(readFileSync(join(bundledModelsDirectory, 'catalog.json'), 'utf8')),
  ).models;
  return entries;
}

/** The entry of this name, be it the catalog name or `ORG/NAME`. */
export function catalogEntryOf(name: string): CatalogEntry | undefined {
  return (
    catalog().find((entry) => entry.name === name) ?? catalog().find((entry) => entry.directory === name)
  );
}
