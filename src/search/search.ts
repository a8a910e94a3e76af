import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import type { PipelineOptions } from '../database/schema.ts';
import { vectorText } from '../database/vector-codec.ts';
import { UserError } from '../errors.ts';
import type { TextEmbedder } from '../inference/embedder.ts';
import { EngineError } from '../inference/engine-error.ts';
import type { FeatureExtractionModel } from '../models/description.ts';

/** A pipeline as far as a search needs it. Made by `findSearchable`. */
export interface SearchablePipeline {
  readonly name: string;
  readonly model: string;
  readonly options: PipelineOptions;
  readonly keyColumns: readonly { name: string; type: string }[];
  /** Schema and name of source and target. */
  readonly source: readonly [schema: string, name: string];
  readonly target: readonly [schema: string, name: string];
  readonly targetColumn: string;
  /** The schema pgvector lives in. */
  readonly vectorSchema: string;
  /** SQL, made by the server out of quoted names: the input of the row `source`. */
  readonly inputExpression: string;
  /** SQL, made by the server too: `source` and `nearest` have the same key. */
  readonly keysEqual: string;
  /** Lists of an ivfflat index on the target, of which a search looks through the square root; null for any other. */
  readonly lists: number | null;
}

/** A row that a search has found. */
export interface Match {
  /** The key columns by name; whole numbers are numbers where a number holds them exactly, all else is text. */
  readonly key: Readonly<Record<string, string | number>>;
  /** 1 - cosine distance: 1 is the same direction, 0 is unrelated. */
  readonly similarity: number;
  /** What was embedded. */
  readonly input: string | null;
}

/** An index scan of pgvector's gives at most this many rows; hnsw.ef_search takes no more. */
export const MAX_MATCHES = 1_000;
/** hnsw.ef_search as pgvector has it. */
const EF_SEARCH = 40;

/**
 * Looks up what a search in a pipeline needs.
 * @throws UserError when there is no such pipeline, or its source or target is gone
 */
export async function findSearchable(database: Database, name: string): Promise<SearchablePipeline> {
  const { rows } = await sql<SearchablePipeline>`
    select p.name, p.model, p.options, p.target_column as "targetColumn", v.nspname as "vectorSchema",
      array[sn.nspname, s.relname]::text[] as source, array[tn.nspname, t.relname]::text[] as target,
      (select jsonb_agg(jsonb_build_object('name', k.column_name, 'type', k.type_name) order by k.place)
        from embedder.key_columns(p.source) k) as "keyColumns",
      embedder.input_expression(p.source, p.input, 'source') as "inputExpression",
      embedder.keys_equal(p.source, 'source', 'nearest') as "keysEqual",
      (select (o.option_value)::int from embedder.target_indexes(p) i
        join pg_class c on c.oid = i.index and i.valid
        cross join lateral pg_options_to_table(c.reloptions) o where o.option_name = 'lists' limit 1) as lists
    from embedder.pipeline p
    join pg_class s on s.oid = p.source join pg_namespace sn on sn.oid = s.relnamespace
    join pg_class t on t.oid = p.target_table join pg_namespace tn on tn.oid = t.relnamespace
    join pg_extension e on e.extname = 'vector' join pg_namespace v on v.oid = e.extnamespace
    where p.name = ${name}`.execute(database);
  const found = rows[0];
  if (found) return found;
  const { rows: names } = await sql<{ names: string | null; known: boolean }>`
    select string_agg(name, ', ' order by name) as names, coalesce(bool_or(name = ${name}), false) as known
    from embedder.pipeline`.execute(database);
  const { names: others = null, known = false } = names[0] ?? {};
  if (known)
    throw new UserError(`the tables of pipeline "${name}" are gone`, { hint: 'Drop it and create it again' });
  throw new UserError(`there is no pipeline "${name}"`, {
    hint: others ? `There are: ${others}` : 'Make one: pgembedder pipeline create articles body',
  });
}

/**
 * The vector of a query: with the model's query prompt, and pooled and scaled as the pipeline's rows are.
 * @throws EngineError
 */
export async function embedQuery(
  embedder: Pick<TextEmbedder, 'embedTexts'>,
  model: FeatureExtractionModel,
  query: string,
  options: Pick<PipelineOptions, 'pooling' | 'normalize'> = {},
): Promise<Float32Array> {
  const { pooling, normalize } = options;
  const [vector] = await embedder.embedTexts(model, [query], {
    pooling,
    normalize,
    prompt: model.prompts.query,
    ahead: true,
  });
  if (vector instanceof EngineError) throw vector;
  return vector!;
}

/**
 * The rows of a pipeline nearest to a vector by cosine distance, the nearest first.
 * @param count 1 to 1,000. Fewer come back where there are not as many vectors.
 */
export async function findNearest(
  database: Database,
  pipeline: SearchablePipeline,
  vector: Float32Array,
  count: number,
): Promise<Match[]> {
  const limit = Math.min(MAX_MATCHES, Math.max(1, count));
  const keys = pipeline.keyColumns.map(({ name }) => sql.id(name));
  // The order by and the limit stand alone with the target, so that its index serves them; the source comes after.
  const query = sql<{ distance: number; key: string[]; input: string | null }>`
    select nearest.distance, array[${sql.join(pipeline.keyColumns.map(({ name }) => sql`${sql.ref(`source.${name}`)}::text`))}] as key,
      ${sql.raw(pipeline.inputExpression)} as input
    from (
      select ${sql.join(keys)}, ${distance(pipeline, vector)} as distance
      from ${sql.id(...pipeline.target)}
      where ${sql.id(pipeline.targetColumn)} is not null
      order by ${distance(pipeline, vector)}
      limit ${limit}
    ) nearest
    join ${sql.id(...pipeline.source)} source on ${sql.raw(pipeline.keysEqual)}
    order by nearest.distance`;
  const rows = await database.transaction().execute(async (transaction) => {
    await sql`select set_config('hnsw.ef_search', ${String(Math.max(EF_SEARCH, limit))}, true)`.execute(
      transaction,
    );
    if (pipeline.lists !== null) {
      const probes = Math.ceil(Math.sqrt(pipeline.lists));
      await sql`select set_config('ivfflat.probes', ${String(probes)}, true)`.execute(transaction);
    }
    return (await query.execute(transaction)).rows;
  });
  return rows.map((row) => ({
    key: Object.fromEntries(
      pipeline.keyColumns.map(({ name, type }, i) => [name, keyValue(row.key[i]!, type)]),
    ),
    similarity: 1 - row.distance,
    input: row.input,
  }));
}

function distance(pipeline: SearchablePipeline, vector: Float32Array): RawBuilder<number> {
  const { targetColumn, vectorSchema } = pipeline;
  return sql`${sql.id(targetColumn)} operator(${sql.id(vectorSchema)}.<=>) ${vectorText(vector)}::${sql.id(vectorSchema, 'vector')}`;
}

/** A bigint beyond 2^53 would lose digits as a number. */
function keyValue(text: string, type: string): string | number {
  const number = Number(text);
  return ['smallint', 'integer', 'bigint'].includes(type) && Number.isSafeInteger(number) ? number : text;
}
