import { sql } from 'kysely';
import type { PipelineOptions } from '../database/column-types.ts';
import type { Database } from '../database/database.ts';
import { inItsLetters } from '../database/letters.ts';
import { encodeVectors } from '../database/vector-codec.ts';
import { type SparseVector, sparseText } from '../sparse-vector.ts';
import { isSparse } from '../tasks/feature-extraction.ts';

/** A query text that a session waits for; see sql/search/embed.sql. */
export interface Request {
  readonly id: number;
  readonly model: string;
  readonly options: Pick<
    PipelineOptions,
    'pooling' | 'normalize' | 'dimensions' | 'vector_type' | 'top_k'
  > & {
    /** Those that are to be ranked by the input, which is not embedded then. */
    readonly texts?: readonly string[];
  };
  readonly input: string;
}

/** Why a request has no vector, as its caller gets it. */
export interface Refusal {
  readonly message: string;
  readonly hint: string | undefined;
  readonly sqlState: string;
}

/** Claims up to `limit` requests, the oldest first. */
export async function claimRequests(database: Database, workerId: number, limit: number): Promise<Request[]> {
  const { rows } = await sql<Request>`
    select id, model, options, input from embedder.claim_requests(${workerId}, ${limit})`.execute(database);
  return rows;
}

/** Gives requests of the same options their vectors: all dense, or all sparse. */
export async function answerRequests(
  database: Database,
  requests: readonly Request[],
  vectors: readonly (Float32Array | SparseVector)[],
  vectorOid: number,
): Promise<void> {
  const ids = sql`${idsOf(requests)}::bigint[]`;
  await (isSparse(requests[0]!.options)
    ? sql`select embedder.answer_sparse(${ids}, ${(vectors as SparseVector[]).map((vector) => sparseText(vector))}::text[])`
    : sql`select embedder.answer_requests(${ids}, ${encodeVectors(vectors as Float32Array[], vectorOid)})`
  ).execute(database);
}

/** Gives a request the scores of its texts; null for one that the model could not read. */
export async function answerRanking(
  database: Database,
  request: Request,
  scores: readonly (number | null)[],
): Promise<void> {
  await sql`select embedder.answer_ranking(${request.id}, ${scores}::real[])`.execute(database);
}

/** Tells the callers of requests what went wrong. */
export async function refuseRequests(
  database: Database,
  requests: readonly Request[],
  { message, hint, sqlState }: Refusal,
): Promise<void> {
  await inItsLetters((lettered) =>
    sql`select embedder.refuse_requests(${idsOf(requests)}::bigint[], ${lettered(message)}, ${hint ? lettered(hint) : null}, ${sqlState})`.execute(
      database,
    ),
  );
}

/** Gives requests back for another worker. */
export async function releaseRequests(database: Database, requests: readonly Request[]): Promise<void> {
  await sql`select embedder.release_requests(${idsOf(requests)}::bigint[])`.execute(database);
}

/** Removes requests that nobody waits for any more. */
export async function tidyRequests(database: Database): Promise<void> {
  await sql`select embedder.tidy_requests()`.execute(database);
}

function idsOf(requests: readonly Request[]): number[] {
  return requests.map(({ id }) => id);
}
