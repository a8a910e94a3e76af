import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { saveModels } from '../../../src/database/models.ts';
import type { Endpoint } from '../../../src/endpoints/endpoint.ts';
import { createMetrics } from '../../../src/http/metrics/metrics.ts';
import { foundModels } from '../../../src/models/known-models.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { EmbeddingServer, type Misdeed } from '../../support/embedding-server.ts';
import { endpointAt } from '../../support/endpoints.ts';
import {
  createMigratedDatabase,
  fakeVector,
  type MigratedDatabase,
  readVectors,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

const ROWS = 40;

let database: MigratedDatabase;
let server: EmbeddingServer;

beforeAll(async () => {
  database = await createMigratedDatabase();
});

beforeEach(async () => {
  server = await EmbeddingServer.start();
  await saveModels(
    database.kysely,
    foundModels(createModelStore({ directories: [] }), [endpointAt(server.url)]),
  );
  await database.query(`select embedder.drop_pipeline(name, true) from embedder.pipeline; drop table if exists doc;
    create table doc (id int primary key, body text);
    insert into doc select i, 'text ' || i from generate_series(1, ${ROWS}) i`);
});

afterEach(() => server.stop());
afterAll(() => database.drop());

const create = (more = '') =>
  database.query(
    `select embedder.create_pipeline('doc', 'body', model => 'there:words', index => 'none' ${more})`,
  );

const worker = (own: Partial<Endpoint> = {}) =>
  workerOn(database, {
    embedder: undefined,
    endpoints: [endpointAt(server.url, own)],
    backoff: { baseSeconds: 0.05, limitSeconds: 0.1 },
  });

async function expectVectors(without: readonly string[] = []): Promise<void> {
  const ids = Array.from({ length: ROWS }, (_, i) => String(i + 1)).filter((id) => !without.includes(id));
  const found = await readVectors(database, 'select id, embedding from doc_embedding');
  const wanted = new Map(ids.map((id) => [id, fakeVector(`text ${id}`)] as const));
  expect(wrongKeys(found, wanted, 0.99999)).toEqual([]);
}

async function statusError(): Promise<string | null> {
  const { rows } = await database.query<{ error: string | null }>(
    `select error from embedder.status where pipeline = 'doc'`,
  );
  return rows[0]!.error;
}

async function attemptsAndLetters() {
  const { rows } = await database.query<{ attempts: number; letters: number }>(
    `select (select coalesce(max(attempts), 0)::int from embedder.job) as attempts,
      (select count(*)::int from embedder.failed_job) as letters`,
  );
  return rows[0];
}

it('a worker makes the models of its endpoints known', async () => {
  const { rows } = await database.query(
    `select name, task, dimensions, max_tokens from embedder.model where name like 'there:%'`,
  );
  expect(rows).toEqual([
    { name: 'there:words', task: 'feature-extraction', dimensions: 384, max_tokens: 512 },
  ]);
  await expect(
    database.query(`select embedder.create_pipeline('doc', 'body', model => 'there:wrds')`),
  ).rejects.toMatchObject({ hint: expect.stringMatching(/^Did you mean "there:words"\?/) });
});

it('rows are embedded by the endpoint, and the metrics tell of it', async () => {
  await create();
  const own = worker();
  const metrics = createMetrics(own, null);
  expect(await own.drain()).toMatchObject({ embedded: ROWS, retried: 0, dead: 0, failing: [] });
  await expectVectors();
  expect(new Set(server.texts).size).toBe(ROWS);
  const { text } = await metrics.render();
  expect(text).toContain(`pgembedder_endpoint_requests_total{endpoint="there",outcome="200"} ${ROWS / 4}`);
  expect(text).toContain('pgembedder_endpoint_tokens_total{endpoint="there",model="there:words"} 70');
});

it('long texts are sent in chunks, counted without the tokenizer', async () => {
  await database.query(
    `delete from doc where id > 1; update doc set body =
      (select string_agg('Small cat ' || i || ' sleeps.', ' ') from generate_series(1, 100) i)`,
  );
  await create(`, chunking => '{"strategy": "recursive", "size": 64}'`);
  expect(await worker().drain()).toMatchObject({ embedded: 1, failing: [] });
  expect(server.texts.length).toBeGreaterThan(5);
  for (const text of server.texts) expect(text.length).toBeLessThanOrEqual(64 * 4);
});

it.each<[string, Misdeed]>([
  ['429 with seconds', { status: 429, headers: { 'retry-after': '1' } }],
  ['503 with a date', { status: 503, headers: { 'retry-after': new Date(0).toUTCString() } }],
  ['500', { status: 500 }],
  ['a cut connection', 'cut'],
  ['an answer of too few', { raw: '{"data": []}' }],
])('%s for a while costs no row an attempt', async (_, misdeed) => {
  await create();
  server.misbehave = (_request, number) => (number < 2 ? misdeed : undefined);
  // A drain may end while rows wait for the time that the server has named: they are not due.
  let embedded = 0;
  await pollUntil(async () => {
    const drained = await worker().drain();
    expect(drained).toMatchObject({ retried: 0, dead: 0, failing: [] });
    embedded += drained.embedded;
    return embedded === ROWS;
  });
  await expectVectors();
  expect(await statusError()).toBeNull();
});

it.each<[string, Misdeed]>([
  ['a wrong key', { status: 401 }],
  ['a model that is not there', { status: 404 }],
  ['a server that always fails', { status: 500 }],
  ['a server that always refuses', { status: 422 }],
  ['vectors of another length', { raw: '{"data": [{"index": 0, "embedding": [1]}]}' }],
])('%s is an error of the pipeline, and costs no row an attempt; then it goes on', async (_, misdeed) => {
  await create();
  server.misbehave = () => misdeed;
  const first = await worker().drain();
  expect(first).toMatchObject({
    ...{ embedded: 0, retried: 0, dead: 0 },
    failing: [{ pipeline: 'doc', error: expect.stringMatching(/^Endpoint 'there' /) }],
  });
  expect(await statusError()).toMatch(/^Endpoint 'there' /);
  expect(await attemptsAndLetters()).toEqual({ attempts: 0, letters: 0 });
  expect(await readVectors(database, 'select id, embedding from doc_embedding')).toEqual(new Map());
  server.misbehave = () => undefined;
  await database.query(`select embedder.resume_pipeline('doc'); update embedder.job set due_at = now()`);
  expect(await worker().drain()).toMatchObject({ embedded: ROWS, failing: [] });
  await expectVectors();
});

it.each<[string, Misdeed]>([
  ['refuses', { status: 422, body: { detail: [{ msg: 'too strange' }] } }],
  ['breaks over', { status: 500 }],
])('one text that the server %s becomes a dead letter, and all others have vectors', async (_, misdeed) => {
  await create(', max_attempts => 1');
  server.misbehave = ({ texts }) => (texts.includes('text 7') ? misdeed : undefined);
  expect(await worker().drain()).toMatchObject({ embedded: ROWS - 1, dead: 1, failing: [] });
  await expectVectors(['7']);
  const { rows } = await database.query('select row_key, error from embedder.failed_job');
  expect(rows).toEqual([{ row_key: '7', error: expect.stringMatching(/^Endpoint 'there' .*(422|500)/) }]);
});

it('an error of the pipeline is over when the server works again, also if that shows by a bad row alone', async () => {
  await database.query('delete from doc where id > 1');
  await create(', max_attempts => 1');
  server.misbehave = () => ({ status: 401 });
  await worker().drain();
  expect(await statusError()).toMatch(/does not let pgembedder in/);
  server.misbehave = ({ texts }) => (texts.includes('text 1') ? { status: 422 } : undefined);
  await database.query('update embedder.job set due_at = now()');
  expect(await worker().drain()).toMatchObject({ dead: 1, failing: [] });
  expect(await statusError()).toBeNull();
});

it('a limit of requests a minute is kept to: the rest waits, without an attempt', async () => {
  await create();
  const own = worker({ limits: { ...endpointAt('').limits, requests_per_minute: 4 } });
  const waiting = new Promise<string>((resolve) => {
    own.events.on('endpointWait', ({ reason }) => resolve(reason));
  });
  await own.start();
  expect(await waiting).toBe('limit');
  await own.stop();
  expect(server.received).toHaveLength(4);
  expect(await attemptsAndLetters()).toEqual({ attempts: 0, letters: 0 });
  expect(await statusError()).toBeNull();
  // Another worker has a limit of its own.
  server.received.length = 0;
  await database.query('update embedder.job set due_at = now()');
  expect(await worker().drain()).toMatchObject({ embedded: ROWS - 16 });
  await expectVectors();
});

it('a server that hangs holds up no pipeline of another model', async () => {
  // Rows that are queued: a backfill has windows of its own.
  await create(', enqueue_existing => false');
  await database.query(`drop table if exists other; create table other (id int primary key, body text);
    select embedder.create_pipeline('other', 'body', index => 'none')`);
  server.misbehave = () => 'hang';
  const own = workerOn(database, { endpoints: [endpointAt(server.url)], window: 4, stopSeconds: 0.1 });
  const asked = server.received;
  await own.start();
  try {
    await database.query('update doc set body = body || $$!$$');
    await pollUntil(() => asked.length > 1);
    await database.query(`insert into other select i, 'text ' || i from generate_series(1, 5) i`);
    await pollUntil(async () => (await database.query('select from other_embedding')).rowCount === 5);
    expect((await database.query('select from doc_embedding')).rowCount).toBe(0);
  } finally {
    await own.stop();
    await database.query(`select embedder.drop_pipeline('other', true)`);
  }
});

it('a pipeline that may not use an endpoint says so', async () => {
  await create();
  const first = await worker({ pipelines: ['other'] }).drain();
  expect(first.failing).toEqual([
    {
      pipeline: 'doc',
      error: expect.stringMatching(/^Pipeline "doc" may not use endpoint 'there'\. The operator/),
    },
  ]);
  expect(await statusError()).toMatch(/may not use/);
  expect(server.received).toEqual([]);
  expect(await worker({ pipelines: ['doc'] }).drain()).toMatchObject({ embedded: ROWS, failing: [] });
});

it('the chunking strategy tokens and the option pooling say what they lack', async () => {
  await create(`, chunking => '{"strategy": "tokens"}'`);
  expect((await worker().drain()).failing[0]!.error).toMatch(/tokens needs the tokenizer of 'there:words'/);
  await database.query(`select embedder.drop_pipeline('doc', true)`);
  await create(`, options => '{"pooling": "cls"}'`);
  expect((await worker().drain()).failing[0]!.error).toMatch(/does the pooling itself/);
  expect(server.received).toEqual([]);
});

it('queries of embedder.search go to the endpoint, with its prompt', async () => {
  await create();
  const own = worker();
  await own.start();
  try {
    await database.query('create extension if not exists dblink');
    const { rows } = await database.query(
      `select vector_dims(embedder.embed('text 7', 'there:words')) as dimensions`,
    );
    expect(rows).toEqual([{ dimensions: 384 }]);
    expect(server.texts).toContain('query: text 7');
    server.misbehave = () => ({ status: 401 });
    await expect(database.query(`select embedder.embed('text 8', 'there:words')`)).rejects.toMatchObject({
      code: '38000',
      message: expect.stringMatching(/does not let pgembedder in: status 401/),
    });
  } finally {
    await own.stop();
  }
});
