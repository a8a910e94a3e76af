import type { Database } from '../database/database.ts';
import { findNearest, findSearchable, type Match } from '../search/search.ts';
import { isSparse } from '../tasks/feature-extraction.ts';
import type { TextModels } from './embedder.ts';

/** Which rows a search gives. */
export interface SearchSettings {
  /** How many rows, 1 to 1,000. Default: 10. */
  readonly k?: number;
}

/**
 * The rows of a pipeline nearest to a text, the nearest first: their keys, similarities and inputs.
 * @throws UserError when there is no such pipeline or its model is not here, EngineError
 * @example
 * const found = await search(database, models, 'articles', 'how do I get my money back', { k: 5 });
 */
export async function search(
  database: Database,
  models: Pick<TextModels, 'embed' | 'embedSparse'>,
  pipeline: string,
  query: string,
  { k = 10 }: SearchSettings = {},
): Promise<Match[]> {
  const found = await findSearchable(database, pipeline);
  const { pooling, normalize, dimensions, top_k: topK } = found.options;
  const inputType = 'query';
  const [vector] = isSparse(found.options)
    ? await models.embedSparse(found.model, [query], { inputType, topK })
    : await models.embed(found.model, [query], { inputType, pooling, normalize, dimensions });
  return findNearest(database, found, vector!, k);
}
