import { once } from 'node:events';
import { pino } from 'pino';
import type { PipelineDefinition } from '../../src/pipelines/define.ts';
import type { WorkerOptions } from '../../src/worker/options.ts';
import type { Worker } from '../../src/worker/worker.ts';
import type { TestServer } from '../../test/support/server.ts';
import { createWorker, definePipeline } from './built.ts';
import { type BenchDatabase, createBenchDatabase } from './database.ts';

/**
 * A worker that fills the vectors of one table again and again. It runs all the time, so that its start and the
 * loading of the model are not in the figures; a bare loop's are not either.
 */
export class Drainer {
  readonly #database: BenchDatabase;
  readonly #worker: Worker;
  readonly #texts: readonly string[];

  private constructor(database: BenchDatabase, worker: Worker, texts: readonly string[]) {
    this.#database = database;
    this.#worker = worker;
    this.#texts = texts;
  }

  static async start(
    server: TestServer,
    name: string,
    texts: readonly string[],
    pipeline: Partial<PipelineDefinition> = {},
    options: Partial<WorkerOptions> = {},
  ): Promise<Drainer> {
    const database = await createBenchDatabase(server, name);
    const { client, kysely, url } = database;
    await client.query('create table gloss (id bigint generated always as identity primary key, body text)');
    // An index is built after the filling, and has no part in it.
    await definePipeline(kysely, { source: 'gloss', input: 'body', index: 'none', ...pipeline });
    const worker = createWorker({ connection: url, logger: pino({ level: 'error' }), ...options });
    await worker.start();
    const drainer = new Drainer(database, worker, texts);
    // The first rows load the model and warm everything up.
    await drainer.#fill(texts.slice(0, 2_000));
    return drainer;
  }

  /**
   * Rows a second from the job table to committed vectors: from the moment the queue is opened to the worker, with all
   * jobs on it, to the commit of the last vector.
   */
  async run(): Promise<number> {
    return this.#texts.length / (await this.#fill(this.#texts));
  }

  /** The texts of the chunks that the last run has written. */
  async chunkTexts(): Promise<string[]> {
    const { rows } = await this.#database.client.query<{ chunk_text: string }>(
      'select chunk_text from gloss_embedding order by id, chunk',
    );
    return rows.map(({ chunk_text }) => chunk_text);
  }

  async stop(): Promise<void> {
    await this.#worker.stop();
    await this.#database.drop();
  }

  async #fill(texts: readonly string[]): Promise<number> {
    const { client } = this.#database;
    await client.query(`select embedder.pause_pipeline('gloss')`);
    await client.query('truncate gloss restart identity');
    await client.query('insert into gloss (body) select unnest($1::text[])', [texts]);
    await client.query('vacuum analyze gloss');
    await client.query('vacuum analyze embedder.job');
    await client.query('checkpoint');
    const goal = this.#worker.stats.embedded + texts.length;
    const begin = performance.now();
    await client.query(`select embedder.resume_pipeline('gloss')`);
    while (this.#worker.stats.embedded < goal) {
      await once(this.#worker.events, 'completed', { signal: AbortSignal.timeout(120_000) });
    }
    const seconds = (performance.now() - begin) / 1_000;
    const { rows } = await client.query<{ jobs: number }>('select count(*)::int as jobs from embedder.job');
    if (rows[0]?.jobs !== 0) throw new Error(`${rows[0]?.jobs} jobs are left after the drain`);
    return seconds;
  }
}
