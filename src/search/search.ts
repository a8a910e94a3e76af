import { sql } from 'kysely';
import pg from 'pg';
import type { PipelineOptions } from '../database/column-types.ts';
import type { Database } from '../database/database.ts';
import { OBJECT_NOT_IN_PREREQUISITE_STATE, UNDEFINED_OBJECT } from '../database/errors.ts';
import { vectorText } from '../database/vector-codec.ts';
import { UserError } from '../errors.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import { embedQueries, type QueryOptions, type QueryVector } from '../inference/query-vectors.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import type { VectorModel } from '../model-files/description.ts';

/** A pipeline as far as a search needs it. Made by `findSearchable`. */
export interface SearchablePipeline {
  readonly name: string;
  readonly model: string;
  readonly options: PipelineOptions;
  /** Numbers in its vectors. */
  readonly dimensions: number;
  readonly keyColumns: readonly { name: string; type: string }[];
  /** SQL: pgvector's type of query vectors with its schema. */
  readonly vectorType: string;
}

/** A row that a search has found. */
export interface Match {
  /** The key columns by name; whole numbers are numbers where a number holds them exactly, all else is text. */
  readonly key: Readonly<Record<string, string | number>>;
  /** 1 - cosine distance: 1 is the same direction, 0 is unrelated. Of sparse vectors their inner product, unless the pipeline says otherwise. */
  readonly similarity: number;
  /** What was embedded. */
  readonly input: string | null;
}

/** Before pgvector 0.8 an index scan gives at most this many rows: hnsw.ef_search takes no more. */
export const MAX_MATCHES = 1_000;

/**
 * Looks up what a search in a pipeline needs, of its live generation.
 * @throws UserError when there is no such pipeline, it has no vectors, or its source or target is gone
 */
export async function findSearchable(database: Database, name: string): Promise<SearchablePipeline> {
  const { rows } = await sql<SearchablePipeline>`
    select p.name, p.model, p.dimensions, jsonb_strip_nulls(p.options) as options,
      embedder.vector_type(case when embedder.is_sparse(p.options) then 'sparsevec' else 'vector' end) as "vectorType",
      (select jsonb_agg(jsonb_build_object('name', k.column_name, 'type', k.type_name) order by k.place)
        from embedder.key_columns(p.source) k) as "keyColumns"
    from embedder.find_searchable(${name}) p
    join pg_class s on s.oid = p.source
    join pg_class t on t.oid = p.target_table`
    .execute(database)
    .catch((error: unknown) => {
      throw isRefusal(error) ? new UserError(error.message, { hint: error.hint, cause: error }) : error;
    });
  if (rows[0]) return rows[0];
  throw new UserError(`the tables of pipeline "${name}" are gone`, { hint: 'Drop it and create it again' });
}

/** Whether embedder.find_searchable says that there is no such pipeline, or none with vectors. */
function isRefusal(error: unknown): error is pg.DatabaseError {
  return (
    error instanceof pg.DatabaseError &&
    (error.code === UNDEFINED_OBJECT || error.code === OBJECT_NOT_IN_PREREQUISITE_STATE)
  );
}

/**
 * The vector of a query: with the model's query prompt, and pooled and scaled as the pipeline's rows are.
 * @throws EngineError
 */
export async function embedQuery(
  embedder: Pick<TextEmbedder, 'embedTexts' | 'embedSparse'>,
  model: VectorModel,
  query: string,
  options: QueryOptions = {},
): Promise<QueryVector> {
  const [vector] = await embedQueries(embedder, model, [query], options);
  if (vector instanceof EngineError) throw vector;
  return vector!;
}

/**
 * The rows of a pipeline nearest to a vector, the nearest first; of sparse vectors those that have a term in common with it.
 * @param count 1 to 1,000. Fewer come back where there are not as many vectors.
 */
export async function findNearest(
  database: Database,
  pipeline: SearchablePipeline,
  vector: QueryVector,
  count: number,
): Promise<Match[]> {
  // Key values as text: JSON would round a bigint.
  const { rows } = await sql<{ key: Record<string, string>; similarity: number; input: string | null }>`
    select (select jsonb_object_agg(k.key, k.value) from jsonb_each_text(found.key) k) as key, found.similarity, found.input
    from embedder.search(${pipeline.name}, ${vectorText(vector)}::text::${sql.raw(pipeline.vectorType)}, ${count}) found`.execute(
    database,
  );
  return rows.map(({ key, similarity, input }) => ({
    key: Object.fromEntries(pipeline.keyColumns.map(({ name, type }) => [name, keyValue(key[name]!, type)])),
    similarity,
    input,
  }));
}

/** A bigint beyond 2^53 would lose digits as a number. */
export function keyValue(text: string, type: string): string | number {
  const number = Number(text);
  return ['smallint', 'integer', 'bigint'].includes(type) && Number.isSafeInteger(number) ? number : text;
}
