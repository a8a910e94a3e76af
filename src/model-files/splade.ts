import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { z } from 'zod';
import { SPARSE_ACTIVATIONS, SPARSE_POOLINGS, type SparsePooling } from './description.ts';
import { type ModelConfig, readJson } from './model-folder.ts';
import { readModules } from './sentence-transformers.ts';

const poolingSchema = z.looseObject({
  pooling_strategy: z.enum(SPARSE_POOLINGS).default('max'),
  activation_function: z.enum(SPARSE_ACTIVATIONS).default('relu'),
});

/**
 * How a model makes sparse vectors: as the config of its module SpladePooling says. Without `modules.json`, a masked language
 * model is taken for one, as sentence-transformers' SparseEncoder takes it, unless `1_Pooling/config.json` says how dense vectors are
 * made of it.
 * @returns null for a model whose vectors are dense
 * @throws UserError for a module, pooling or activation that pgembedder does not have
 */
export function readSparsePooling(
  directory: string,
  { architectures = [] }: ModelConfig,
): SparsePooling | null {
  const modules = readModules(join(directory, 'modules.json'));
  const isSparse = modules
    ? modules.some(({ name }) => name === 'SpladePooling')
    : architectures.some((name) => name.endsWith('ForMaskedLM')) &&
      !existsSync(join(directory, '1_Pooling', 'config.json'));
  if (!isSparse) return null;
  const folder = modules?.find(({ name }) => name === 'SpladePooling')?.path ?? '1_SpladePooling';
  const config = readJson(join(directory, folder, 'config.json'), poolingSchema) ?? poolingSchema.parse({});
  return { pooling: config.pooling_strategy, activation: config.activation_function };
}
