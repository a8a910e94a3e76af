import { EventEmitter, once } from 'node:events';
import pg from 'pg';
import { pino } from 'pino';
import { type Database, openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrate/migrate.ts';
import type { EngineError } from '../../src/inference/backend/engine-error.ts';
import type { SequenceResult } from '../../src/inference/backend/run.ts';
import { Embedder } from '../../src/inference/embedder.ts';
import { Engine } from '../../src/inference/engine/engine.ts';
import type {
  EmbedOptions,
  LabelOptions,
  SparseOptions,
  TextEmbedder,
} from '../../src/inference/text-embedder.ts';
import type { LabelModel, LogitsModel, ServedModel, VectorModel } from '../../src/model-files/description.ts';
import { catalogModels } from '../../src/models/catalog.ts';
import { createModelStore } from '../../src/models/store.ts';
import type { SparseVector } from '../../src/sparse-vector.ts';
import type { LabelResult } from '../../src/tasks/results.ts';
import type { Tokenizer } from '../../src/tasks/text-tokenizer.ts';
import type { WorkerOptions } from '../../src/worker/options.ts';
import { createWorker, type DrainResult, type Worker } from '../../src/worker/worker.ts';
import { createDatabase, type DatabaseOptions, type TestDatabase } from './postgres.ts';

export const silent = pino({ level: 'silent' });

/** A database with schema embedder in it. */
export interface MigratedDatabase extends TestDatabase {
  /** What the library's functions take. */
  kysely: Database;
}

/** The models of the catalog, as `pgembedder migrate` gives them to `migrate`. */
export function knownModels() {
  return catalogModels();
}

export async function createMigratedDatabase(options: DatabaseOptions = {}): Promise<MigratedDatabase> {
  const database = await createDatabase({ vector: true, ...options });
  const kysely = openDatabase(database.url, 4);
  await migrate(kysely, knownModels());
  return {
    ...database,
    kysely,
    async drop() {
      await kysely.destroy();
      await database.drop();
    },
  };
}

/** The row keys on the queue of a pipeline, sorted. */
export async function queued(database: TestDatabase, pipeline: string): Promise<string[]> {
  await queueBackfills(database, pipeline);
  const { rows } = await database.query<{ row_key: string }>(
    `select j.row_key from embedder.job j join embedder.pipeline p on p.id = j.pipeline_id
     where p.name = $1 order by j.row_key`,
    [pipeline],
  );
  return rows.map((row) => row.row_key);
}

/** The row keys on the queue of a pipeline, sorted; afterwards its queue is empty. */
export async function takeQueued(database: TestDatabase, pipeline: string): Promise<string[]> {
  await queueBackfills(database, pipeline);
  const { rows } = await database.query<{ row_key: string }>(
    `delete from embedder.job where pipeline_id = (select id from embedder.pipeline where name = $1)
     returning row_key`,
    [pipeline],
  );
  return rows.map((row) => row.row_key).sort();
}

/**
 * Makes jobs of the rows that backfills of a pipeline have yet to walk, so that a test finds them on the queue. A row that has
 * one is left alone: an open transaction may hold it.
 */
export async function queueBackfills(database: TestDatabase, pipeline: string): Promise<void> {
  await database.query(`do $$
    declare
      run embedder.backfill_run;
      wanted int[] := array(select id from embedder.pipeline where name = ${pg.escapeLiteral(pipeline)});
    begin
      for run in select * from embedder.backfill_run where pipeline_id = any (wanted) loop
        execute format('insert into embedder.job (pipeline_id, row_key) select %1$s, k from embedder.pipeline_%1$s_next(null, null, %2$L, %3$L, 1000000, stale => %4$L) k where not exists (select from embedder.job where pipeline_id = %1$s and row_key = k) on conflict do nothing',
          run.pipeline_id, run.condition, run.force, run.stale);
      end loop;
      delete from embedder.backfill_run where pipeline_id = any (wanted);
    end $$`);
}

/** Jobs left, over all pipelines, and ranges of backfills. */
export async function jobCount(database: TestDatabase): Promise<number> {
  const { rows } = await database.query<{ n: number }>(
    'select ((select count(*) from embedder.job) + (select count(*) from embedder.backfill_range))::int as n',
  );
  return rows[0]!.n;
}

/** Ends every backoff and every delay. */
export async function makeDue(database: TestDatabase): Promise<void> {
  await database.query('update embedder.job set due_at = now() where leased_by is null');
}

/** What a query for (key text, vector) gives, as a map; a null vector stays null. */
export async function readVectors(
  database: TestDatabase,
  query: string,
): Promise<Map<string, Float32Array | null>> {
  const { rows } = await database.query<{ key: string; vector: string | null }>(
    `select q.key::text as key, q.vector::text as vector from (${query}) q(key, vector)`,
  );
  const found = new Map<string, Float32Array | null>();
  for (const { key, vector } of rows) {
    if (found.has(key)) throw new Error(`two vectors for ${key}`);
    found.set(key, vector === null ? null : Float32Array.from(JSON.parse(vector) as number[]));
  }
  return found;
}

export function cosine(a: Float32Array, b: Float32Array): number {
  if (a.length !== b.length) throw new Error(`vectors of ${a.length} and ${b.length} dimensions`);
  let [dot, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    dot += a[i]! * b[i]!;
    aa += a[i]! * a[i]!;
    bb += b[i]! * b[i]!;
  }
  return dot / Math.sqrt(aa * bb);
}

/**
 * The keys whose vector is not the one wanted; null wants no vector. Keys that either side lacks count.
 * @param least the cosine from which on two vectors are the same
 */
export function wrongKeys(
  found: ReadonlyMap<string, Float32Array | null>,
  wanted: ReadonlyMap<string, Float32Array | null>,
  least = 0.99,
): string[] {
  const keys = new Set([...found.keys(), ...wanted.keys()]);
  return [...keys].filter((key) => {
    const a = found.get(key);
    const b = wanted.get(key);
    if (a === undefined || b === undefined) return true;
    if (a === null || b === null) return a !== b;
    return !(cosine(a, b) >= least);
  });
}

/** The bundled model's vectors of single texts, by the real engine. Call `close` in the end. */
export function openReference(): { embed(texts: string[]): Promise<Float32Array[]>; close(): Promise<void> } {
  const engine = new Engine({ logger: silent });
  const embedder = new Embedder({ engine });
  const model = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction');
  return {
    async embed(texts) {
      const vectors: Float32Array[] = [];
      // One by one: an int8 model scales by the largest value of a batch, so neighbours would have a little influence.
      for (const text of texts) {
        const [result] = await embedder.embedTexts(model, [text]);
        if (!(result instanceof Float32Array)) throw result;
        vectors.push(Float32Array.from(result));
      }
      return vectors;
    },
    close: () => engine.stop(),
  };
}

/** A vector that only this text has, and that is far from that of any other. */
export function fakeVector(text: string, dimensions = 384): Float32Array {
  // FNV-1a, then a generator of Lehmer's: enough to tell texts apart.
  let state = 2_166_136_261;
  for (let i = 0; i < text.length; i++) state = Math.imul(state ^ text.charCodeAt(i), 16_777_619);
  let seed = (state >>> 0) % 2_147_483_646;
  const vector = new Float32Array(dimensions);
  for (let i = 0; i < dimensions; i++) {
    seed = ((seed + 1) * 48_271) % 2_147_483_647;
    vector[i] = seed / 2_147_483_647 - 0.5;
  }
  return vector;
}

/** A sparse vector with the number of each word of a text that is a number, at that place: `3 3 7` is `{4:2,8:1}`. */
export function fakeSparse(text: string, dimensions: number, topK = dimensions): SparseVector {
  const counts = new Map<number, number>();
  for (const word of text.match(/\d+/g) ?? []) counts.set(Number(word), (counts.get(Number(word)) ?? 0) + 1);
  const kept = [...counts]
    .sort(([, a], [, b]) => b - a)
    .slice(0, topK)
    .sort(([a], [b]) => a - b);
  return {
    dimensions,
    indices: Int32Array.from(kept, ([index]) => index),
    values: Float32Array.from(kept, ([, count]) => count),
  };
}

/**
 * Stands in for models, device and engine: answers at once with `fakeVector`, or when it is told to.
 * @param directories where it finds models beside the bundled ones
 */
export class FakeEmbedder extends EventEmitter<{ call: [texts: string[]] }> implements TextEmbedder {
  /** The texts of each call, in their order. */
  readonly calls: string[][] = [];
  /** Says what is wrong with a row, if anything. */
  fault: (text: string) => EngineError | undefined = () => undefined;
  #gate: Promise<void> = Promise.resolve();
  #open = () => {};
  readonly find: TextEmbedder['find'];

  constructor(directories: readonly string[] = []) {
    super();
    this.find = createModelStore({ directories }).find;
  }

  /** From now on calls wait, until `release`. */
  hold(): void {
    this.#gate = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  release(): void {
    this.#open();
  }

  /** Resolves with the texts of the next call. */
  async nextCall(): Promise<string[]> {
    const [texts] = await once(this, 'call');
    return texts;
  }

  admit(): void {}

  async embedTexts(
    model: VectorModel,
    texts: readonly string[],
    options: EmbedOptions = {},
  ): Promise<SequenceResult[]> {
    const gate = this.#gate;
    this.calls.push([...texts]);
    this.emit('call', [...texts]);
    await gate;
    const results = texts.map(
      (text) => this.fault(text) ?? fakeVector(text, options.dimensions ?? model.dimensions),
    );
    options.onBatch?.(results.map((result, place) => ({ place, result })));
    return results;
  }

  async embedSparse(
    model: VectorModel,
    texts: readonly string[],
    options: SparseOptions = {},
  ): Promise<(SparseVector | EngineError)[]> {
    this.calls.push([...texts]);
    this.emit('call', [...texts]);
    await this.#gate;
    const results = texts.map((text) => this.fault(text) ?? fakeSparse(text, model.dimensions, options.topK));
    options.onBatch?.(results.map((result, place) => ({ place, result })));
    return results;
  }

  /** Labels each text with its first word. */
  async labelTexts(
    _model: LabelModel,
    texts: readonly string[],
    options: LabelOptions = {},
  ): Promise<(LabelResult | EngineError)[]> {
    this.calls.push([...texts]);
    this.emit('call', [...texts]);
    await this.#gate;
    const results = texts.map((text) => {
      const label = text.split(' ', 1)[0]!;
      return this.fault(text) ?? { label, score: 0.75, detail: { [label]: 0.75, other: 0.25 } };
    });
    options.onBatch?.(results.map((result, place) => ({ place, result })));
    return results;
  }

  /** The score of a text is the share of the query's words that it has. */
  async rankTexts(
    _model: LogitsModel,
    query: string,
    texts: readonly string[],
  ): Promise<(number | EngineError)[]> {
    this.calls.push([...texts]);
    this.emit('call', [...texts]);
    await this.#gate;
    const words = query.split(/\s+/);
    return texts.map(
      (text) =>
        this.fault(text) ?? words.filter((word) => text.split(/\s+/).includes(word)).length / words.length,
    );
  }

  callKey({ name }: ServedModel, options: object): string {
    return `${name} ${JSON.stringify(options)}`;
  }

  tokenizer({ maxTokens }: ServedModel): Tokenizer {
    return { maxTokens, encode: () => new Int32Array(2), count: (text) => text.split(/\s+/).length };
  }
}

/** From now on `written` counts how often each row key of a sidecar (of a key `id int`) is written. */
export async function countWrites(
  database: TestDatabase,
  sidecar: string,
): Promise<() => Promise<{ rows: number; writes: number }>> {
  await database.query(`create table write_log (id int);
    create function log_write() returns trigger language plpgsql as
      $$ begin insert into public.write_log select id from new_rows; return null; end $$;
    create trigger log_insert after insert on ${sidecar} referencing new table as new_rows
      for each statement execute function log_write();
    create trigger log_update after update on ${sidecar} referencing new table as new_rows
      for each statement execute function log_write()`);
  return async () => {
    const { rows } = await database.query<{ rows: number; writes: number }>(
      'select count(distinct id)::int as rows, count(*)::int as writes from write_log',
    );
    return rows[0]!;
  };
}

/** A worker on a test's database that logs nothing and never comes back to a failed row by itself. */
export function workerOn(database: TestDatabase, options: Partial<WorkerOptions> = {}): Worker {
  return createWorker({
    connection: database.url,
    logger: silent,
    backoff: { baseSeconds: 3_600, limitSeconds: 3_600 },
    ...options,
  });
}

/** Works until no job is due, with the fake embedder unless another is given. */
export function drain(database: TestDatabase, options: Partial<WorkerOptions> = {}): Promise<DrainResult> {
  return workerOn(database, { embedder: new FakeEmbedder(), ...options }).drain();
}
