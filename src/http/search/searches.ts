import type { Database } from '../../database/database.ts';
import { INSUFFICIENT_PRIVILEGE, isAway, QUERY_CANCELED, UNDEFINED_OBJECT } from '../../database/errors.ts';
import { vectorText } from '../../database/vector-codec.ts';
import { codeOf, UserError } from '../../errors.ts';
import { didYouMean } from '../../nearest.ts';
import {
  type RestrictedMatch,
  type RestrictedSearch,
  searchRestricted,
  ValueError,
} from '../../search/restricted-search.ts';
import { findSearchable, type SearchablePipeline } from '../../search/search.ts';
import type { SparseVector } from '../../sparse-vector.ts';
import { featureExtraction, isSparse } from '../../tasks/feature-extraction.ts';
import { HttpError } from '../api/http-error.ts';
import type { Inference } from '../api/inference.ts';
import { ClientGone } from '../api/line.ts';
import type { OpenedPipeline } from './opened.ts';

/** Searches that the database does at a time. */
export const AT_ONCE = 4;
/** Most that are under way or wait. */
const MOST = 256;

/** A search that a client asks for. */
export interface SearchRequest {
  readonly query: string | null;
  /** All its numbers, or of a sparse one those that are not 0, with their places from 0. */
  readonly vector: readonly number[] | readonly { readonly index: number; readonly value: number }[] | null;
  readonly count: number;
  readonly filter: Readonly<Record<string, unknown>>;
  readonly settings: Readonly<Record<string, string>>;
  readonly hybrid: boolean;
  readonly signal: AbortSignal;
}

/** What was found, and how long it took in milliseconds. */
export interface Found {
  readonly matches: readonly RestrictedMatch[];
  readonly embedMs: number;
  readonly searchMs: number;
}

/** Searches in the pipelines that the operator has opened. */
export class Searches {
  readonly opened: readonly OpenedPipeline[];
  readonly #database: Database;
  readonly #control: Database;
  #underWay = 0;

  /** @param control cancels statements */
  constructor(opened: readonly OpenedPipeline[], database: Database, control: Database) {
    this.opened = opened;
    this.#database = database;
    this.#control = control;
  }

  /** @throws HttpError 404 */
  find(name: string): OpenedPipeline {
    const opened = this.opened.find((each) => each.name === name);
    if (opened) return opened;
    const meant = didYouMean(
      name,
      this.opened.map((each) => each.name),
    );
    throw new HttpError(
      404,
      `There is no pipeline of this name that is open for search. ${meant}`.trimEnd(),
      {
        code: 'pipeline_not_found',
      },
    );
  }

  /** @throws HttpError, ClientGone */
  async search(opened: OpenedPipeline, request: SearchRequest, inference: Inference): Promise<Found> {
    const restriction = {
      ...{ role: opened.role, columns: opened.columns, timeoutMs: opened.timeout_seconds * 1_000 },
      ...{ conditions: conditionsOf(opened, request), settings: settingsOf(opened, request) },
    };
    if (this.#underWay >= MOST)
      throw new HttpError(429, 'Too many searches wait already: try again in a moment', { retryAfter: 1 });
    this.#underWay++;
    try {
      return await this.#run(opened, request, restriction, inference);
    } catch (error) {
      throw refusalOf(error, request.signal, opened);
    } finally {
      this.#underWay--;
    }
  }

  async #run(
    opened: OpenedPipeline,
    request: SearchRequest,
    restriction: Pick<RestrictedSearch, 'role' | 'columns' | 'timeoutMs' | 'conditions' | 'settings'>,
    inference: Inference,
  ): Promise<Found> {
    const { query, count, hybrid, signal } = request;
    const begin = performance.now();
    const pipeline = await findSearchable(this.#database, opened.name);
    const vector =
      givenVector(pipeline, request.vector) ??
      vectorText(await vectorOf(pipeline, query!, inference, signal));
    const embedded = performance.now();
    const matches = await searchRestricted(this.#database, this.#control, {
      ...{ pipeline, k: count, vector, ...restriction, signal },
      words: hybrid ? { text: query!, language: opened.language } : null,
    });
    return { matches, embedMs: embedded - begin, searchMs: performance.now() - embedded };
  }
}

async function vectorOf(
  pipeline: SearchablePipeline,
  query: string,
  inference: Inference,
  signal: AbortSignal,
): Promise<Float32Array | SparseVector> {
  const model = inference.models.embedder.find(pipeline.model, featureExtraction.name);
  const { pooling, normalize, dimensions, top_k: topK } = pipeline.options;
  if (isSparse(pipeline.options)) {
    const [sparse] = await inference.embedSparse({
      ...{ model, texts: [query], inputType: 'query', topK, truncate: true, signal },
    });
    return sparse!;
  }
  const { vectors } = await inference.embed({
    ...{ model, inputs: [query], inputType: 'query', pooling, normalize, dimensions, truncate: true, signal },
  });
  return vectors[0]!;
}

/** A vector that the client gives, as pgvector's text; null without one. @throws HttpError 400 for one of another kind than the pipeline's */
function givenVector(
  { options, dimensions }: SearchablePipeline,
  vector: SearchRequest['vector'],
): string | null {
  if (vector === null) return null;
  const entries = vector.filter((entry) => typeof entry === 'object');
  const sparse = entries.length > 0;
  if (sparse !== isSparse(options) || (sparse && entries.length < vector.length)) {
    throw new HttpError(
      400,
      `vector: ${isSparse(options) ? 'its vectors are sparse: give objects of index and value' : 'its vectors are dense: give numbers'}`,
      {
        param: 'vector',
      },
    );
  }
  if (!sparse) return vectorText(Float32Array.from(vector as readonly number[]));
  const sorted = entries.toSorted((a, b) => a.index - b.index);
  return vectorText({
    dimensions: dimensions!,
    indices: Int32Array.from(sorted, ({ index }) => index),
    values: Float32Array.from(sorted, ({ value }) => value),
  });
}

/** @throws HttpError 400 for a filter that there is not */
function conditionsOf(
  { condition, filters }: OpenedPipeline,
  { filter }: SearchRequest,
): RestrictedSearch['conditions'] {
  const given = Object.entries(filter).map(([name, value]) => ({
    sql: oneOf(filters, name, 'filter'),
    value,
  }));
  return [...(condition === null ? [] : [{ sql: condition }]), ...given];
}

/** @throws HttpError 400 for a setting that there is not, and for one that is not given */
function settingsOf(opened: OpenedPipeline, { settings }: SearchRequest): Record<string, string> {
  const missing = Object.keys(opened.settings).find((name) => !Object.hasOwn(settings, name));
  if (missing !== undefined) {
    throw new HttpError(400, `settings.${missing}: this search needs it`, { param: `settings.${missing}` });
  }
  return Object.fromEntries(
    Object.entries(settings).map(([name, value]) => [oneOf(opened.settings, name, 'settings'), value]),
  );
}

function oneOf(declared: Readonly<Record<string, string>>, name: string, field: string): string {
  if (Object.hasOwn(declared, name)) return declared[name]!;
  const names = Object.keys(declared);
  const there = names.length === 0 ? 'there are none' : `there are ${names.join(', ')}`;
  throw new HttpError(
    400,
    `${field}: none has this name. ${didYouMean(name, names)}Of this pipeline ${there}`,
    {
      param: field,
    },
  );
}

/** What is wrong with the set-up is told by the log: it names tables and roles. */
function refusalOf(error: unknown, signal: AbortSignal, { name, timeout_seconds }: OpenedPipeline): unknown {
  if (signal.aborted) return new ClientGone();
  if (error instanceof HttpError || error instanceof ClientGone) return error;
  if (error instanceof ValueError) return new HttpError(400, `A value does not fit: ${error.message}`);
  if (isAway(error)) return new HttpError(503, 'The database is away', { retryAfter: 2, cause: error });
  const code = codeOf(error);
  if (code === QUERY_CANCELED) {
    return new HttpError(503, `The search took longer than ${timeout_seconds} s, and was ended`, {
      ...{ code: 'search_timeout', cause: error },
    });
  }
  if (error instanceof UserError && codeOf(error.cause) === UNDEFINED_OBJECT) {
    return new HttpError(404, `There is no pipeline "${name}"`, { code: 'pipeline_not_found', cause: error });
  }
  if (error instanceof UserError || code === INSUFFICIENT_PRIVILEGE || /^(22|42|55|0A|P0)/.test(code)) {
    return new HttpError(503, "This search is not set up right: the server's log says why", {
      ...{ code: 'search_unusable', cause: error },
    });
  }
  return error;
}
