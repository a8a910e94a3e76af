import { once } from 'node:events';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import type { EmbedOptions } from '../../../src/inference/text-embedder.ts';
import type { FeatureExtractionModel } from '../../../src/model-files/description.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { openDeafProxy } from '../../support/deaf-proxy.ts';
import {
  cosine,
  createMigratedDatabase,
  FakeEmbedder,
  fakeVector,
  type MigratedDatabase,
  openReference,
  workerOn,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { startWorkerProcess } from '../../support/worker-process.ts';

let database: MigratedDatabase;
const workers: Worker[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query('create extension dblink');
});
afterAll(() => database.drop());
beforeEach(() => database.query('delete from embedder.worker_process'));
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop();
  await database.query('truncate embedder.query_vector, embedder.request, embedder.answer');
});

/** A worker that runs until the test ends. */
async function work(options: Parameters<typeof workerOn>[1] = {}): Promise<FakeEmbedder> {
  const embedder = new FakeEmbedder();
  const worker = workerOn(database, { embedder, ...options });
  workers.push(worker);
  await worker.start();
  return embedder;
}

const parse = (text: string | null) =>
  text === null ? null : Float32Array.from(JSON.parse(text) as number[]);

/** A session, or a pool of them. */
interface Sessions {
  query(statement: string, parameters: unknown[]): Promise<{ rows: unknown[] }>;
}

/** What `embedder.embed(...)` gives. */
async function embed(on: Sessions, ...args: (string | null)[]): Promise<Float32Array | null> {
  const places = args.map((_, i) => `$${i + 1}`).join(', ');
  const { rows } = await on.query(`select embedder.embed(${places})::text as vector`, args);
  return parse((rows[0] as { vector: string | null }).vector);
}

async function withClient<Result>(use: (client: pg.PoolClient) => Promise<Result>): Promise<Result> {
  const client = await database.pool.connect();
  try {
    return await use(client);
  } finally {
    // For good: settings and second connections of a test must not reach the next one.
    client.release(true);
  }
}

const count = async (table: string) =>
  (await database.query<{ n: number }>(`select count(*)::int as n from embedder.${table}`)).rows[0]!.n;

describe('a text', () => {
  it('has the vector that the model gives it', async () => {
    const reference = openReference();
    const worker = workerOn(database);
    workers.push(worker);
    await worker.start();
    try {
      const [wanted] = await reference.embed(['a small cat']);
      expect(cosine((await embed(database, 'a small cat'))!, wanted!)).toBeGreaterThan(0.999);
    } finally {
      await reference.close();
    }
  });

  it("is embedded as a query, with the options that are given or are the pipeline's", async () => {
    const asked: (EmbedOptions | undefined)[] = [];
    const embedder = new FakeEmbedder();
    const embedTexts = embedder.embedTexts.bind(embedder);
    embedder.embedTexts = (model, texts, options) => {
      asked.push(options);
      return embedTexts(model, texts, options);
    };
    await work({ embedder });
    await embed(database, 'a small cat');
    await embed(database, 'a small cat', 'all-MiniLM-L6-v2', '{"pooling": "cls"}');
    await database.query(`create table doc (id int primary key, body text);
      select embedder.create_pipeline('doc', 'body', options => '{"normalize": false, "prompt": "passage: "}')`);
    await database.query(`select embedder.embed_for('doc', 'a small cat')`);
    expect(asked).toEqual([
      { priority: 'interactive', prompt: '' },
      { priority: 'interactive', prompt: '', pooling: 'cls' },
      { priority: 'interactive', prompt: '', normalize: false },
    ]);
    await expect(database.query(`select embedder.embed_for('none', 'text')`)).rejects.toMatchObject({
      code: '42704',
    });
    await database.query(`select embedder.drop_pipeline('doc', true); drop table doc`);
  });

  it('may be anything', async () => {
    await work();
    for (const text of [
      `it's "quoted" \\' $$ %s {x} E'\\n'`,
      '🐈‍⬛ Ünïcode, 漢字',
      "'; drop table embedder.request; --",
      'x'.repeat(16_000),
    ]) {
      expect(await embed(database, text)).toEqual(fakeVector(text));
    }
  });

  it('without content has none, and asks nobody', async () => {
    for (const text of ['', ' \n\t', null]) expect(await embed(database, text)).toBeNull();
    expect(await embed(database, 'text', null)).toBeNull();
  });
});

describe('a transaction', () => {
  it.each(['read committed', 'repeatable read', 'serializable', 'repeatable read read only'])(
    'that is %s gets its answer',
    async (mode) => {
      await work();
      await withClient(async (client) => {
        await client.query(`begin isolation level ${mode}; select count(*) from pg_class`);
        expect(await embed(client, mode)).toEqual(fakeVector(mode));
        await client.query('commit');
      });
    },
  );

  it('that is rolled back keeps its vector', async () => {
    const embedder = await work();
    await withClient(async (client) => {
      await client.query('begin');
      await embed(client, 'twice');
      await client.query('rollback');
      expect(await embed(client, 'twice')).toEqual(fakeVector('twice'));
    });
    expect(embedder.calls).toEqual([['twice']]);
  });
});

describe('many callers', () => {
  it('each get their own answer, by two workers that share the work', async () => {
    const embedders = [await work(), await work()];
    const texts = Array.from({ length: 40 }, (_, i) => `query ${i}`);
    // Ten connections of the pool, and ten of another one.
    const other = await createSecondPool();
    try {
      const vectors = await Promise.all(texts.map((text, i) => embed(i % 2 ? database : other.pool, text)));
      expect(vectors).toEqual(texts.map((text) => fakeVector(text)));
      expect(embedders.flatMap(({ calls }) => calls.flat()).sort()).toEqual([...texts].sort());
      expect(await count('request')).toBe(0);
      expect(await count('answer')).toBe(0);
    } finally {
      await other.end();
    }
  });

  it('share a run of the model', async () => {
    const embedder = await work();
    embedder.hold();
    const first = [embed(database, 'a'), embed(database, 'b')];
    // Both lanes of the worker are taken when two batches are at the engine; what comes then makes one batch.
    await pollUntil(() => embedder.calls.flat().length === 2);
    const rest = Array.from({ length: 6 }, (_, i) => embed(database, `more ${i}`));
    await pollUntil(
      async () =>
        embedder.calls.flat().length + (await count('request where claimed_by is null')) === 2 + rest.length,
    );
    const before = embedder.calls.length;
    embedder.release();
    await Promise.all([...first, ...rest]);
    expect(embedder.calls.length - before).toBeLessThan(rest.length);
  });

  it('are not hurt by the error of one', async () => {
    const embedder = await work();
    embedder.fault = (text) =>
      text === 'bad' ? new EngineError('not-finite', 'no finite vector', { hint: 'Change it' }) : undefined;
    embedder.hold();
    const outcomes = Promise.allSettled(['good', 'bad', 'better'].map((text) => embed(database, text)));
    await pollUntil(
      async () => embedder.calls.flat().length + (await count('request where claimed_by is null')) === 3,
    );
    embedder.release();
    expect(await outcomes).toMatchObject([
      { status: 'fulfilled', value: fakeVector('good') },
      { status: 'rejected', reason: { code: '38000', message: 'no finite vector', hint: 'Change it' } },
      { status: 'fulfilled', value: fakeVector('better') },
    ]);
    expect(await count('query_vector')).toBe(2);
  });
});

/** Ten more connections. */
async function createSecondPool() {
  const { default: postgres } = await import('pg');
  const pool = new postgres.Pool({ connectionString: database.url, max: 10 });
  return { pool, end: () => pool.end() };
}

/** Keeps the queue's texts waiting, and not those of callers. */
class BusyEmbedder extends FakeEmbedder {
  override embedTexts(model: FeatureExtractionModel, texts: readonly string[], options: EmbedOptions = {}) {
    if (options.priority === 'interactive') return Promise.resolve(texts.map((text) => fakeVector(text)));
    return super.embedTexts(model, texts, options);
  }
}

describe('a worker', () => {
  it('that drains a queue answers meanwhile', async () => {
    await database.query(`create table doc (id int primary key, body text); insert into doc values (1, 'a row');
      select embedder.create_pipeline('doc', 'body')`);
    const embedder = new BusyEmbedder();
    embedder.hold();
    const called = embedder.nextCall();
    await work({ embedder });
    expect(await called).toEqual(['a row']);
    expect(await embed(database, 'query')).toEqual(fakeVector('query'));
    const completed = once(workers[0]!.events, 'completed');
    embedder.release();
    await completed;
    await database.query(`select embedder.drop_pipeline('doc', true); drop table doc`);
  });

  it('that hears no notifications finds requests by its poll', async () => {
    const proxy = await openDeafProxy(database.url);
    try {
      await work({ connection: proxy.url });
      expect(await embed(database, 'query')).toEqual(fakeVector('query'));
      await workers.pop()!.stop();
    } finally {
      await proxy.close();
    }
  });

  it('that stops gives what it has claimed to another one', async () => {
    const stopping = new FakeEmbedder();
    stopping.embedTexts = () => Promise.reject(new EngineError('stopped', 'the engine was stopped'));
    await work({ embedder: stopping });
    // The one that is stopping may claim it again until the other one is quicker.
    const other = await work();
    expect(await embed(database, 'query')).toEqual(fakeVector('query'));
    expect(other.calls).toEqual([['query']]);
  });

  it('that does not have the model says so', async () => {
    await work();
    await expect(embed(database, 'query', 'no-such-model')).rejects.toMatchObject({
      code: '42704',
      message: expect.stringContaining(`'no-such-model'`),
      hint: expect.stringContaining('models pull no-such-model'),
    });
    await expect(embed(database, 'query', '../etc')).rejects.toMatchObject({ code: '42704' });
  });
});

describe('without an answer', () => {
  it('no worker runs: at once', async () => {
    await expect(embed(database, 'query')).rejects.toMatchObject({
      code: '55000',
      message: 'no worker runs on this database',
      hint: expect.stringContaining('pgembedder work'),
    });
  });

  it('the worker was killed: after the time that the caller has set', async () => {
    const worker = await startWorkerProcess({ connection: database.url });
    worker.child.kill('SIGKILL');
    await worker.exited;
    await withClient(async (client) => {
      await client.query(`set embedder.embed_timeout = '200ms'`);
      await expect(embed(client, 'query')).rejects.toMatchObject({
        code: '58000',
        message: 'no worker has answered within 00:00:00.2',
        hint: expect.stringContaining('embedder.worker'),
      });
      expect(await count('request')).toBe(0);
      await client.query(`set embedder.embed_timeout = '100'`);
      await expect(embed(client, 'query')).rejects.toMatchObject({
        message: 'no worker has answered within 00:00:00.1',
      });
      await client.query(`set embedder.embed_timeout = 'soon'`);
      await expect(embed(client, 'query')).rejects.toMatchObject({ code: '22023' });
    });
  });

  it('the caller may cancel, and ask again', async () => {
    const embedder = await work();
    embedder.hold();
    await withClient(async (client) => {
      await client.query(`set statement_timeout = '200ms'`);
      await expect(embed(client, 'query')).rejects.toMatchObject({ code: '57014' });
      await client.query('set statement_timeout = 0');
      embedder.release();
      expect(await embed(client, 'another')).toEqual(fakeVector('another'));
    });
  });

  it('the caller may die: workers remove what it has left', async () => {
    const embedder = await work();
    embedder.hold();
    await withClient(async (client) => {
      const { rows } = await client.query<{ pid: number }>('select pg_backend_pid() as pid');
      await client.query(`set embedder.embed_timeout = '1h'`);
      client.on('error', () => {});
      const called = embedder.nextCall();
      const asked = embed(client, 'query').catch((error: unknown) => error);
      await called;
      await database.query('select pg_terminate_backend($1)', [rows[0]!.pid]);
      expect(await asked).toMatchObject({ code: '57P01' });
    });
    embedder.release();
    await pollUntil(async () => (await count('answer')) === 1);
    await database.query('update embedder.answer set expires_at = now()');
    await pollUntil(async () => (await count('answer')) === 0);
  });

  it('an option, or the value of one, is unknown', async () => {
    await expect(embed(database, 'query', 'all-MiniLM-L6-v2', '{"prompt": "query: "}')).rejects.toMatchObject(
      {
        code: '22023',
        message: 'embed has no option "prompt"',
      },
    );
    await expect(embed(database, 'query', 'all-MiniLM-L6-v2', '{"pooling": "sum"}')).rejects.toMatchObject({
      code: '22023',
      message: expect.stringMatching(/^option "pooling" is "sum", and must be "mean", /),
    });
  });
});

describe('the cache', () => {
  it('answers without a worker, by model, options and text', async () => {
    const embedder = await work();
    const model = 'all-MiniLM-L6-v2';
    const vector = await embed(database, 'query');
    await embed(database, 'query', model, '{"pooling": "cls"}');
    await embed(database, 'query', model, '{"pooling": null}');
    expect(embedder.calls).toHaveLength(2);
    for (const worker of workers.splice(0)) await worker.stop();
    expect(await embed(database, 'query')).toEqual(vector);
    expect(await embed(database, 'query', model, '{}')).toEqual(vector);
    await expect(embed(database, 'Query')).rejects.toMatchObject({ code: '55000' });
    await expect(embed(database, 'query', 'bge-small-en-v1.5')).rejects.toMatchObject({ code: '55000' });
    await database.query('delete from embedder.query_vector where model = $1', [model]);
    await expect(embed(database, 'query')).rejects.toMatchObject({ code: '55000' });
  });

  it('forgets what was not asked for the longest, and keeps what was', async () => {
    await work();
    for (const text of ['a', 'b', 'c', 'd']) await embed(database, text);
    await database.query(
      `update embedder.query_vector set used_at = used_at - case when embedding = $1 then interval '1 hour' else interval '30 minutes' end`,
      [JSON.stringify([...fakeVector('a')])],
    );
    await embed(database, 'a');
    await database.query(
      'begin; set local embedder.query_cache_size = 3; select embedder.tidy_requests(); commit',
    );
    const { rows } = await database.query<{ vector: string }>(
      'select embedding::text as vector from embedder.query_vector',
    );
    expect(rows).toHaveLength(3);
    expect(rows.map(({ vector }) => parse(vector))).toContainEqual(fakeVector('a'));
  });

  it('may be switched off', async () => {
    await database.query(`alter database ${database.name} set embedder.query_cache_size = 0`);
    const embedder = await work();
    await embed(database, 'query');
    await embed(database, 'query');
    expect(embedder.calls).toEqual([['query'], ['query']]);
    await database.query(`alter database ${database.name} reset embedder.query_cache_size`);
  });
});
