import { type RawBuilder, sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { encodeVectors } from '../database/vector-codec.ts';
import { type SparseVector, sparseText } from '../sparse-vector.ts';
import { taskNamed } from '../tasks/tasks.ts';
import type { Job } from './jobs.ts';

/** What a task gives that labels texts or parts of them; the columns label, score and detail of the target. */
export interface Labels {
  readonly label: string | null;
  readonly score: number | null;
  readonly detail: object;
}

/** What a task gives for a text. */
export type Output = Float32Array | SparseVector | Labels;

/** One chunk of a row and what came out of it. */
export interface ChunkResult {
  readonly text: string;
  /** Where it stands in the row's input, in code points: from `start` to before `end`. */
  readonly start: number;
  readonly end: number;
  /** The path of headings above it; null without headings. */
  readonly heading: string | null;
  /** The md5 of what the model was given, as a UUID. */
  readonly hash: string;
  /** Null: the target has a chunk of this hash already, which keeps its result. */
  readonly output: Output | null;
}

/** A job and what came out of it: of the whole row, or of each of its chunks in their order. Null empties the target. */
export interface Result {
  readonly job: Job;
  /** As `readInputs` gave it. */
  readonly sourceHash: string | null;
  readonly output: Output | readonly ChunkResult[] | null;
}

/** How the target of a pipeline is written. */
export interface TargetShape {
  readonly id: number;
  readonly task: string;
  readonly chunked: boolean;
  /** Whether its vectors are sparse. */
  readonly sparse: boolean;
  /** The name by which completed batches are told of on the channel embedder_done; null: they are not. */
  readonly told: string | null;
}

/** The input of a row, as the server gives it. */
export interface RowInput {
  /** Null where the row is gone, its input is NULL, or the filter leaves it out. */
  readonly text: string | null;
  /** The hash of all that the result is made of, the whole text included; null where there is no row to work on. */
  readonly sourceHash: string | null;
  /** For a chunked pipeline: what goes before and after each chunk, and the hashes of the chunks in the target. */
  readonly before: string;
  readonly after: string;
  readonly hashes: readonly string[];
}

/**
 * Reads the input of each job's row, all of one pipeline.
 * @param maxCharacters texts are cut to this length by the server
 * @returns inputs in the order of `jobs`
 */
export async function readInputs(
  database: Database,
  jobs: readonly Job[],
  maxCharacters: number,
): Promise<RowInput[]> {
  const { rows } = await sql<{
    place: number;
    input: string | null;
    source_hash: string | null;
    before?: string;
    after?: string;
    hashes?: string[];
  }>`
    select * from ${pipelineFunction(jobs[0]!.pipelineId, 'read')}(${jobs.map((job) => job.rowKey)}::text[], ${maxCharacters})`.execute(
    database,
  );
  const inputs: RowInput[] = jobs.map(() => ({
    text: null,
    sourceHash: null,
    before: '',
    after: '',
    hashes: [],
  }));
  for (const { place, input, source_hash, before = '', after = '', hashes = [] } of rows)
    inputs[place - 1] = { text: input, sourceHash: source_hash, before, after, hashes };
  return inputs;
}

/**
 * Writes results of one pipeline and deletes their jobs, in one statement, for those whose job still has the version
 * that was claimed.
 * @returns the row keys that are done; the others have changed meanwhile, or somebody has them locked
 */
export async function completeJobs(
  database: Database,
  target: TargetShape,
  results: readonly Result[],
  model: string,
  vectorOid: number,
): Promise<Set<string>> {
  const jobs = results.map((result) => result.job);
  const pieces = target.chunked ? chunkColumns(results) : [];
  const outputs = target.chunked
    ? results.flatMap(({ output }) => chunksOf(output).map((chunk) => chunk.output))
    : results.map(({ output }) => output as Output | null);
  const parameters = [
    sql`${jobs.map((job) => job.rowKey)}::text[]`,
    sql`${jobs.map((job) => job.version)}::bigint[]`,
    sql`${model}::text`,
    sql`${results.map(({ sourceHash }) => sourceHash)}::uuid[]`,
    ...pieces,
    ...outputColumns(target, outputs, vectorOid),
  ];
  const done = sql`select row_key from ${pipelineFunction(target.id, 'complete')}(${sql.join(parameters)}) row_key`;
  const { rows } = await sql<{
    row_key: string;
  }>`${target.told === null ? done : telling(done, target.told)}`.execute(database);
  return new Set(rows.map((row) => row.row_key));
}

/** In the same statement, so that who hears of it sees the results. */
function telling(done: RawBuilder<unknown>, pipeline: string): RawBuilder<unknown> {
  return sql`with done as materialized (${done}), told as materialized (
      select pg_catalog.pg_notify('embedder_done', pg_catalog.json_build_object('pipeline', ${pipeline}::text, 'rows', pg_catalog.count(*))::text)
      from done having pg_catalog.count(*) operator(pg_catalog.>) 0)
    select row_key from done, (select pg_catalog.count(*) from told) told`;
}

/** The chunks of a result; none where the target is to be emptied. */
export function chunksOf(output: Result['output']): readonly ChunkResult[] {
  return Array.isArray(output) ? output : [];
}

function chunkColumns(results: readonly Result[]) {
  const rows = results.flatMap(({ output }, place) =>
    chunksOf(output).map((chunk, number) => ({ place: place + 1, number, ...chunk })),
  );
  return [
    sql`${rows.map(({ place }) => place)}::int[]`,
    sql`${rows.map(({ number }) => number)}::int[]`,
    sql`${rows.map(({ text }) => text)}::text[]`,
    sql`${rows.map(({ start }) => start)}::int[]`,
    sql`${rows.map(({ end }) => end)}::int[]`,
    sql`${rows.map(({ heading }) => heading)}::text[]`,
    sql`${rows.map(({ hash }) => hash)}::uuid[]`,
  ];
}

function outputColumns(
  { task, sparse }: TargetShape,
  outputs: readonly (Output | null)[],
  vectorOid: number,
) {
  if (sparse) {
    const vectors = outputs as (SparseVector | null)[];
    return [sql`${vectors.map((vector) => vector && sparseText(vector))}::text[]`];
  }
  if (taskNamed(task).result === 'vector')
    return [sql`${encodeVectors(outputs as (Float32Array | null)[], vectorOid)}`];
  const labels = outputs as (Labels | null)[];
  return [
    sql`${labels.map((row) => row?.label ?? null)}::text[]`,
    sql`${labels.map((row) => row?.score ?? null)}::real[]`,
    sql`${labels.map((row) => (row ? JSON.stringify(row.detail) : null))}::jsonb[]`,
  ];
}

/** The pipeline's own function of that name; see sql/generated/read.sql and sql/queue/complete.sql. */
function pipelineFunction(pipelineId: number, verb: 'read' | 'complete') {
  return sql.id('embedder', `pipeline_${pipelineId}_${verb}`);
}
