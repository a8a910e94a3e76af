import type { VectorModel } from '../model-files/description.ts';
import type { SparseVector } from '../sparse-vector.ts';
import { isSparse } from '../tasks/feature-extraction.ts';
import type { AnyTaskOptions } from '../tasks/task-options.ts';
import type { EngineError } from './backend/engine-error.ts';
import type { TextEmbedder } from './text-embedder.ts';

/** The vector of a query text, dense or sparse. */
export type QueryVector = Float32Array | SparseVector;

/** The options of a pipeline on which the vector of a query depends. */
export type QueryOptions = Pick<
  AnyTaskOptions,
  'pooling' | 'normalize' | 'dimensions' | 'vector_type' | 'top_k'
>;

/**
 * The vectors of query texts: with the model's query prompt, and made as those of a pipeline's rows with these options are.
 * @throws as `TextEmbedder.embedTexts`
 */
export async function embedQueries(
  embedder: Pick<TextEmbedder, 'embedTexts' | 'embedSparse'>,
  model: VectorModel,
  texts: readonly string[],
  options: QueryOptions,
): Promise<(QueryVector | EngineError)[]> {
  const run = { prompt: model.prompts.query, priority: 'interactive' } as const;
  if (isSparse(options)) return embedder.embedSparse(model, texts, { ...run, topK: options.top_k });
  const { pooling, normalize, dimensions } = options;
  return embedder.embedTexts(model, texts, { ...run, pooling, normalize, dimensions });
}
