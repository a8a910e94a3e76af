import { mkdtemp, writeFile } from 'node:fs/promises';
import { type ClientRequest, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type OpenedPipeline, readOpened } from '../../../src/http/search/opened.ts';
import type { HttpServerOptions } from '../../../src/http/server.ts';
import type { Embedder } from '../../../src/inference/embedder.ts';
import type { SparseVector } from '../../../src/sparse-vector.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { createRole, type TestRole } from '../../support/postgres.ts';
import { openTestEmbedder } from './inference-server.ts';
import { serveWorker, type TestHttpServer } from './support.ts';

const RANKER = 'matrix/reranker-xlmr';
let database: MigratedDatabase;
let reader: TestRole;
let owner: TestRole;
let embedder: Embedder;
let worker: Worker;
let http: TestHttpServer;

const texts = [
  ['A cat sleeps on the sofa', 'en', 'blue'],
  ['The bank raises its interest rates', 'en', 'blue'],
  ['Bread needs flour, water and yeast', 'en', 'red'],
  ['Ein Kater schläft auf dem Sofa', 'de', 'red'],
] as const;

beforeAll(async () => {
  database = await createMigratedDatabase();
  reader = await createRole();
  owner = await createRole();
  embedder = openTestEmbedder();
  await database.query(`create table note (id bigint primary key, body text, lang text, tenant text, at timestamptz, big bigint);
    create table "odd / name" (a text, b date, body text, primary key (a, b));
    create table slow (id int primary key, body text);
    create table term (id int primary key, body text);
    insert into embedder.model (name, task, dimensions, max_tokens, sparse) values ('matrix/splade', 'feature-extraction', 600, 64, true);
    select embedder.create_pipeline('term', 'body', model => 'matrix/splade', options => '{"vector_type": "sparsevec"}');`);
  for (const [place, [body, lang, tenant]] of texts.entries()) {
    await database.query(
      `insert into note values ($1::int, $2, $3, $4, '2026-01-01'::timestamptz + $1::int * interval '1 day', 9007199254740993)`,
      [place + 1, body, lang, tenant],
    );
  }
  await database.query(`insert into "odd / name" values ('x "y"', '2026-02-03', 'A cat sleeps');
    insert into term select n, 'text ' || n from generate_series(1, 9) n;
    insert into slow select n, 'text ' || n from generate_series(1, 5) n;
    select embedder.create_pipeline('note', 'body', index => 'none');
    select embedder.create_pipeline('slow', 'body', index => 'none', target_column => 'embedding');
    select embedder.create_pipeline('"odd / name"', 'body', name => 'odd / name', index => 'none');
    alter table note enable row level security;
    create policy tenants on note for select to ${reader.name} using (tenant = current_setting('app.tenant', true));
    grant select on note, note_embedding, slow to ${reader.name};
    grant usage on schema embedder to ${reader.name};
    grant select on embedder.pipeline to ${reader.name}`);
  worker = workerOn(database, { embedder });
  await worker.drain();
  http = await serve(opened());
});
afterAll(async () => {
  await http?.close();
  await worker?.stop();
  await embedder?.stop();
  await database?.drop();
  await reader?.drop();
  await owner?.drop();
});

const basic: Omit<OpenedPipeline, 'name'> = {
  ...{ role: null, columns: [], input: true, filters: {}, condition: null, settings: {} },
  ...{ language: 'english', timeout_seconds: 5 },
};

function opened(): OpenedPipeline[] {
  const tenants = { ...basic, role: reader.name, settings: { tenant: 'app.tenant' } };
  return [
    {
      ...{ ...tenants, name: 'note', columns: ['lang', 'at', 'big'] },
      filters: {
        lang: 'lang = $1 -- of the text',
        langs: 'lang = any ($1)',
        since: 'at >= $1',
        id: 'id = $1',
      },
    },
    { ...basic, name: 'odd / name', condition: "a <> 'hidden'" },
    { ...basic, name: 'slow', filters: { sleep: 'pg_sleep($1) is not null' }, timeout_seconds: 60 },
    { ...basic, name: 'term' },
    { ...basic, name: 'gone' },
  ];
}

/** A server of the worker, with all that is needed to search. */
function serve(pipelines: readonly OpenedPipeline[], options: Partial<HttpServerOptions> = {}) {
  const models = { defaultFor: () => null, list: () => [] };
  const served = { state: worker.state, events: worker.events, sessions: [], embedder };
  return serveWorker(worker, database.url, { served, search: { opened: pipelines, models }, ...options });
}

function post(pipeline: string, body: unknown, headers: Record<string, string> = {}, url = http.url) {
  return fetch(`${url}/v1/search/${encodeURIComponent(pipeline)}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: typeof body === 'string' ? body : JSON.stringify(body),
  });
}

interface Answer {
  results: {
    key: Record<string, unknown>;
    similarity: number;
    input?: string;
    score?: number;
    rerank_score?: number;
    columns?: object;
  }[];
  times: Record<string, number>;
}

async function find(pipeline: string, body: unknown): Promise<Answer> {
  const response = await post(pipeline, body);
  const answer = await response.text();
  expect(response.status, answer).toBe(200);
  return JSON.parse(answer) as Answer;
}

const ids = ({ results }: Answer) => results.map(({ key }) => key.id);
const blue = { settings: { tenant: 'blue' } };
const red = { settings: { tenant: 'red' } };

async function refusal(response: Response): Promise<[number, string]> {
  const { error } = (await response.json()) as { error: { message: string; request_id: string } };
  expect(error.request_id).toBe(response.headers.get('x-request-id'));
  return [response.status, error.message];
}

describe('a search over HTTP', () => {
  it('finds what the role sees, the nearest first, with the columns that are open', async () => {
    const response = await post('note', { query: 'a pet that rests', ...blue });
    const text = await response.text();
    // A number beyond 2^53 has all its digits.
    expect(text).toContain('"big": 9007199254740993');
    const answer = JSON.parse(text) as Answer;
    expect(answer.results[0]).toMatchObject({
      ...{ key: { id: 1 }, chunk: 0, input: texts[0][0] },
      columns: { lang: 'en', at: expect.stringMatching(/^2026-01-02/) },
    });
    expect(answer.results[0]!.similarity).toBeGreaterThan(answer.results[1]!.similarity);
    expect(ids(answer)).toEqual([1, 2]);
    expect(Object.keys(answer.times)).toEqual(['embed_ms', 'search_ms']);
    expect(ids(await find('note', { query: 'a pet that rests', ...red })).sort()).toEqual([3, 4]);
  });

  it('filters by named conditions, whose values are never SQL', async () => {
    const query = 'a pet that rests';
    expect(ids(await find('note', { query, ...red, filter: { lang: 'de' } }))).toEqual([4]);
    expect(ids(await find('note', { query, ...red, filter: { lang: 'de', since: '2026-01-06' } }))).toEqual(
      [],
    );
    expect(ids(await find('note', { query, ...red, filter: { langs: ['de', 'en'] } })).sort()).toEqual([
      3, 4,
    ]);
    expect(ids(await find('note', { query, ...red, filter: { id: 3 } }))).toEqual([3]);
    for (const value of ["' or true --", "x' or 'a' = 'a", '$1', "\\' or true", '{"a":1}'])
      expect(ids(await find('note', { query, ...red, filter: { lang: value } }))).toEqual([]);
    expect(ids(await find('note', { query, settings: { tenant: "blue' or true --" } }))).toEqual([]);
  });

  it('takes a vector, and words beside the meaning', async () => {
    const model = embedder.find('all-MiniLM-L6-v2', 'feature-extraction');
    const [vector] = await embedder.embedTexts(model, ['a pet that rests']);
    expect(ids(await find('note', { vector: [...(vector as Float32Array)], k: 1, ...blue }))).toEqual([1]);
    const hybrid = await find('note', {
      query: 'interest rates',
      hybrid: true,
      filter: { lang: 'en' },
      ...blue,
    });
    expect(hybrid.results[0]).toMatchObject({ key: { id: 2 }, score: expect.any(Number) });
  });

  it('has a model that ranks put what was found in order', async () => {
    const query = 'how to bake';
    const { results } = await find('slow', { query, k: 2, rerank: RANKER, candidates: 5 });
    const inputs = Array.from({ length: 5 }, (_, place) => `text ${place + 1}`);
    const scores = await embedder.rankTexts(embedder.find(RANKER, 'text-ranking'), query, inputs);
    const best = [...(scores as number[])].sort((a, b) => b - a).slice(0, 2);
    expect(results.map((result) => result.rerank_score)).toEqual(
      best.map((score) => expect.closeTo(score, 4)),
    );
  });

  it('takes names and keys of any kind, and holds to the condition that always holds', async () => {
    const found = await find('odd / name', { query: 'cat' });
    expect(found.results).toMatchObject([{ key: { a: 'x "y"', b: '2026-02-03' }, input: 'A cat sleeps' }]);
    await database.query(`update "odd / name" set a = 'hidden'`);
    expect((await find('odd / name', { query: 'cat' })).results).toEqual([]);
    await database.query(`update "odd / name" set a = 'x "y"'`);
    expect((await find('odd / name', { query: ' ' })).results).toEqual([]);
  });

  it('of sparse vectors takes a text, or the vector as /embed_sparse gives it', async () => {
    const model = embedder.find('matrix/splade', 'feature-extraction');
    const texts = Array.from({ length: 9 }, (_, place) => `text ${place + 1}`);
    const vectors = (await embedder.embedSparse(model, texts)) as SparseVector[];
    const numbers = ({ indices, values }: SparseVector) =>
      Array.from(indices, (index, place) => ({ index, value: values[place]! }));
    const product = (a: SparseVector, b: SparseVector) =>
      numbers(a).reduce(
        (sum, { index, value }) => sum + value * (b.values[b.indices.indexOf(index)] ?? 0),
        0,
      );
    const wanted = vectors.map((vector) => product(vector, vectors[2]!)).sort((a, b) => b - a);
    const byText = await find('term', { query: 'text 3' });
    expect(byText.results.map(({ similarity }) => similarity)).toEqual(
      wanted.map((each) => expect.closeTo(each, 2)),
    );
    expect(ids(await find('term', { vector: numbers(vectors[2]!).reverse() }))).toEqual(ids(byText));
    const hybrid = await find('term', { query: '3', vector: numbers(vectors[2]!), hybrid: true, k: 1 });
    expect(ids(hybrid)).toEqual([3]);
  });

  it('leaves nothing behind on its connection', async () => {
    await Promise.all(Array.from({ length: 12 }, () => find('note', { query: 'bread', ...red })));
    expect(ids(await find('slow', { query: 'text', k: 5 }))).toHaveLength(5);
  });
});

describe('is refused', () => {
  it.each([
    [400, 'note', { query: 'a' }, 'settings.tenant: this search needs it'],
    [400, 'note', { query: 'a', settings: { tenant: 'a', role: 'b' } }, /^settings: none has this name/],
    [
      400,
      'note',
      { query: 'a', ...blue, filter: { lan: 'de' } },
      /^filter: none has this name. Did you mean "lang"/,
    ],
    [400, 'note', { query: 'a', ...blue, filter: { __proto__: 'x', constructor: 'x' } }, /^filter: none/],
    [400, 'note', { query: 'a', ...blue, filter: { id: 'seven' } }, /^A value does not fit: .*"seven"/],
    [400, 'note', { query: 'a', ...blue, filter: { langs: 'en' } }, /^A value does not fit: malformed array/],
    [400, 'note', { query: 'a\0b', ...blue, hybrid: true }, /U\+0000/],
    [400, 'note', { query: 'a', settings: { tenant: '\0' } }, /U\+0000/],
    [400, 'note', { vector: [1, 2], ...blue }, /^A value does not fit: expected 384 dimensions/],
    [400, 'term', { vector: [1, 2] }, /^vector: its vectors are sparse/],
    [400, 'note', { vector: [{ index: 1, value: 2 }], ...blue }, /^vector: its vectors are dense/],
    [400, 'term', { vector: [{ index: 600, value: 1 }] }, /^A value does not fit: sparsevec index/],
    [
      400,
      'term',
      {
        vector: [
          { index: 5, value: 1 },
          { index: 5, value: 1 },
        ],
      },
      /^A value does not fit: sparsevec ind/,
    ],
    [400, 'note', { ...blue }, 'query: give a text'],
    [400, 'note', { vector: [1], hybrid: true, ...blue }, /^query/],
    [400, 'note', { query: 'a', filters: {} }, /Unrecognized key: "filters"/],
    [400, 'note', { query: 'a', k: 0 }, /^k: /],
    [400, 'note', { query: 'a', k: 5, rerank: true, candidates: 4, ...blue }, /^candidates: /],
    [404, 'not', { query: 'a' }, /Did you mean "note"/],
    [404, 'gone', { query: 'a' }, 'There is no pipeline "gone"'],
    [404, 'note', { query: 'a', rerank: 'no/ranker', ...blue }, /There is no model/],
  ])('%d %s %j', async (status, pipeline, body, message) => {
    const [got, sentence] = await refusal(await post(pipeline, body));
    expect([got, sentence]).toEqual([
      status,
      typeof message === 'string' ? message : expect.stringMatching(message),
    ]);
  });

  it('where the role would see what row level security hides, or cannot read', async () => {
    const own = await serve([
      { ...basic, name: 'note' },
      { ...basic, name: 'slow', role: owner.name },
    ]);
    try {
      for (const name of ['note', 'slow']) {
        const [status, sentence] = await refusal(await post(name, { query: 'a' }, {}, own.url));
        expect([status, sentence]).toEqual([
          503,
          "This search is not set up right: the server's log says why",
        ]);
      }
    } finally {
      await own.close();
    }
  });

  it('without a token that is for it, and to other machines without any', async () => {
    const tokens = [
      { token: 'finder', scopes: ['search'] },
      { token: 'reader', scopes: ['read', 'infer', 'operate'] },
    ] as const;
    const guarded = await serve(opened(), { tokens });
    const open = await serve(opened(), { address: { host: '0.0.0.0', port: 0 } });
    try {
      const body = { query: 'a', ...blue };
      const status = async (token?: string) =>
        (await post('note', body, token ? { authorization: `Bearer ${token}` } : {}, guarded.url)).status;
      expect([await status(), await status('reader'), await status('finder')]).toEqual([401, 403, 200]);
      expect((await post('note', body, {}, open.url.replace('0.0.0.0', '127.0.0.1'))).status).toBe(403);
      expect((await post('note', body, { 'content-type': 'text/plain' })).status).toBe(415);
    } finally {
      await guarded.close();
      await open.close();
    }
  });
});

const sleeping = async () =>
  (
    await database.query(`select from pg_stat_activity where query like '%pg_sleep($%' and state = 'active'
    and datname = current_database() and pid <> pg_backend_pid()`)
  ).rowCount;

describe('a search that takes long', () => {
  it('is ended after its time', async () => {
    const brief = await serve([
      { ...basic, name: 'slow', filters: { sleep: 'pg_sleep($1) is not null' }, timeout_seconds: 0.2 },
    ]);
    try {
      const answer = await refusal(await post('slow', { query: 'a', filter: { sleep: 60 } }, {}, brief.url));
      expect(answer).toEqual([503, 'The search took longer than 0.2 s, and was ended']);
      expect(await sleeping()).toBe(0);
    } finally {
      await brief.close();
    }
  });

  it('is ended when its client goes away', async () => {
    const asked: ClientRequest = request(`${http.url}/v1/search/slow`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
    });
    asked.on('error', () => {});
    asked.end(JSON.stringify({ query: 'a', filter: { sleep: 50 } }));
    await pollUntil(async () => (await sleeping()) === 1);
    asked.destroy();
    await pollUntil(async () => (await sleeping()) === 0);
    expect(ids(await find('slow', { query: 'a', k: 1 }))).toHaveLength(1);
  });
});

it('is in the OpenAPI document', async () => {
  const document = (await (await http.get('/openapi.json')).json()) as { paths: Record<string, unknown> };
  expect(Object.keys(document.paths)).toEqual(['/v1/search/{pipeline}']);
  expect((await http.get('/v1/search/note')).status).toBe(405);
});

describe('the setting', () => {
  it('is names, or a file', async () => {
    expect(readOpened(undefined)).toEqual([]);
    expect(readOpened(' a, b ,a,')).toEqual([
      { name: 'a', ...basic },
      { name: 'b', ...basic },
    ]);
    const path = join(await mkdtemp(join(tmpdir(), 'search-')), 'search.json');
    await writeFile(path, JSON.stringify({ a: { role: 'web', filters: { lang: 'lang = $1' } } }));
    expect(readOpened(path)).toEqual([{ name: 'a', ...basic, role: 'web', filters: { lang: 'lang = $1' } }]);
    const refused = [
      [{ a: { roles: 'web' } }, /Unrecognized key: "roles"/],
      [{ a: { filters: { lang: "lang = 'x'" } } }, /write the value as \$1/],
      [{ a: { filters: { lang: 'lang = $1 or lang = $2' } } }, /it has one value/],
      [{ a: { settings: { role: 'role' } } }, /name a setting of your own/],
    ] as const;
    for (const [content, message] of refused) {
      await writeFile(path, JSON.stringify(content));
      expect(() => readOpened(path)).toThrow(message);
    }
    expect(() => readOpened('/nowhere/search.json')).toThrow(/cannot be read/);
  });
});
