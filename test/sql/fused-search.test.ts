import { rmSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Worker } from '../../src/worker/worker.ts';
import { unpackMatrix } from '../support/matrix.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

const { directory } = unpackMatrix();

let database: MigratedDatabase;
let reader: TestRole;
const workers: Worker[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
  reader = await createRole();
  await database.query(`create extension dblink;
    insert into embedder.model (name, task, dimensions, max_tokens, sparse) values ('matrix/splade', 'feature-extraction', 600, 64, true);
    insert into embedder.model (name, task, max_tokens) values ('matrix/reranker-minilm', 'text-ranking', 128)`);
});
afterAll(async () => {
  await database.drop();
  await reader.drop();
  rmSync(join(directory, '..'), { recursive: true });
});
/** Words that are numbers are the terms of the sparse vectors; the dense ones are of the whole text, and far from each other. */
beforeEach(() =>
  database.query(`create table doc (id int primary key, body text, colour text);
    insert into doc select n, n % 3 || ' ' || n % 5 || ' ' || n, (array['red', 'blue'])[n % 2 + 1] from generate_series(100, 139) n;
    select embedder.create_pipeline('doc', 'body', name => 'dense', index => 'none');
    select embedder.create_pipeline('doc', 'body', name => 'sparse', index => 'none', model => 'matrix/splade',
      options => '{"vector_type": "sparsevec"}')`),
);
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop();
  await database.query(`select embedder.drop_pipeline(name, true) from embedder.pipeline where live; drop table if exists doc, other cascade;
    truncate embedder.query_vector; delete from embedder.worker_process`);
});

async function work(): Promise<void> {
  const worker = workerOn(database, { embedder: new FakeEmbedder([directory]) });
  workers.push(worker);
  await worker.start();
  for (const { name } of (await database.query<{ name: string }>('select name from embedder.pipeline')).rows)
    await worker.settled(name);
}

interface Found {
  row_key: string;
  key: object;
  score: number;
  similarities: (number | null)[];
  ranks: (number | null)[];
  input: string;
}
const BOTH = `array['dense', 'sparse']`;
async function fused(
  rest = '',
  { pipelines = BOTH, query = '1 2 101', on = database.pool as Pick<pg.Pool, 'query'> } = {},
): Promise<Found[]> {
  const { rows } = await on.query<Found>(`select * from embedder.fused_search(${pipelines}, $1${rest})`, [
    query,
  ]);
  return rows;
}
const search = async (pipeline: string, k: number, query = '1 2 101', rest = '') =>
  (
    await database.query<{ row_key: string; similarity: number; input: string }>(
      `select * from embedder.search($1, $2, $3${rest})`,
      [pipeline, query, k],
    )
  ).rows;

/** What the fusion of the lists that searches give has to be. */
async function wanted(k: number, weights = [1, 1], rrfK = 60, rest = ''): Promise<Partial<Found>[]> {
  const lists = [await search('dense', 60, undefined, rest), await search('sparse', 60, undefined, rest)];
  const keys = [...new Set(lists.flat().map(({ row_key }) => row_key))];
  return keys
    .map((row_key) => {
      const places = lists.map((list) => list.findIndex((hit) => hit.row_key === row_key));
      return {
        row_key,
        score: places.reduce((sum, place, i) => sum + (place < 0 ? 0 : weights[i]! / (rrfK + place + 1)), 0),
        ranks: places.map((place) => (place < 0 ? null : place + 1)),
        similarities: places.map((place, i) => (place < 0 ? null : lists[i]![place]!.similarity)),
      };
    })
    .sort((a, b) => b.score - a.score || (a.row_key < b.row_key ? -1 : 1))
    .slice(0, k)
    .map((row) => ({ ...row, score: expect.closeTo(row.score, 10) as unknown as number }));
}

describe('fused_search', () => {
  it('sums what the rank in each list gives', async () => {
    await work();
    const found = await fused();
    expect(found).toHaveLength(10);
    expect(found).toMatchObject(await wanted(10));
    // Rows that share no term are in the other list alone.
    expect((await fused(', 40')).some(({ ranks }) => ranks[1] === null)).toBe(true);
    expect(found[0]).toMatchObject({
      key: { id: Number(found[0]!.row_key) },
      input: expect.stringMatching(/^\d \d 1\d\d$/),
    });
    expect(await fused(', 5, rrf_k => 1')).toMatchObject(await wanted(5, [1, 1], 1));
    expect(await fused(', 7, array[0.2, 3]')).toMatchObject(await wanted(7, [0.2, 3]));
    // A list that does not count is not one.
    // As deep as the fusion reads: among rows that are equally near another depth may give another order.
    const sparse = (await search('sparse', 60)).slice(0, 5);
    expect((await fused(', 5, array[0, 1]')).map(({ row_key }) => row_key)).toEqual(
      sparse.map(({ row_key }) => row_key),
    );
    // The order of the pipelines changes nothing but the order of the arrays.
    const turned = await fused(', 10', { pipelines: `array['sparse', 'dense']` });
    expect(turned).toMatchObject(
      found.map(({ row_key, score, ranks }) => ({
        row_key,
        score: expect.closeTo(score, 10),
        ranks: ranks.toReversed(),
      })),
    );
  });

  it('takes one pipeline, or several of the same model, and a text without content', async () => {
    await work();
    const one = await fused(', 3', { pipelines: `array['sparse']` });
    expect(one.map(({ row_key }) => row_key)).toEqual(
      (await search('sparse', 60)).slice(0, 3).map(({ row_key }) => row_key),
    );
    expect(await fused('', { query: ' ' })).toEqual([]);
    await database.query(
      `select embedder.create_pipeline('doc', '{colour} {body}', name => 'third', index => 'none')`,
    );
    await workers[0]!.settled('third');
    expect((await fused(', 1', { pipelines: `array['dense', 'sparse', 'third']` }))[0]!.ranks).toHaveLength(
      3,
    );
  });

  it('counts a row by its best chunk', async () => {
    await database.query(`select embedder.create_pipeline('doc', 'body', name => 'chunks', index => 'none', model => 'matrix/splade',
      chunking => '{"strategy": "tokens", "size": 8, "overlap": 0}', options => '{"vector_type": "sparsevec"}');
      update doc set body = repeat('word ', 12) || '7 7 7 ' || repeat('word ', 12) || '7' where id = 139`);
    await work();
    const found = await fused(', 5', { pipelines: `array['chunks', 'dense']`, query: '7' });
    const first = found.find(({ row_key }) => row_key === '139')!;
    expect(first.ranks[0]).toBe(1);
    expect(first.similarities[0]).toBe(3);
    expect(first.input).toContain('7 7 7');
    expect(new Set(found.map(({ row_key }) => row_key)).size).toBe(5);
  });

  it('has the filter in each list', async () => {
    await work();
    const filter = `, filter => 'colour = ''red'' and id > 110'`;
    const found = await fused(`, 10${filter}`);
    expect(found).toMatchObject(await wanted(10, [1, 1], 60, filter));
    for (const { key } of found) expect((key as { id: number }).id % 2).toBe(0);
    await expect(fused(`, filter => 'colour ='`)).rejects.toThrow(
      "the filter 'colour =' does not work on doc",
    );
  });

  it('lets a model rank what was found', async () => {
    await work();
    const query = '1 2 101';
    const found = await fused(`, 3, rerank => 'matrix/reranker-minilm', candidates => 20`, { query });
    const candidates = await fused(', 20', { query });
    const share = ({ input }: Found) =>
      query.split(' ').filter((word) => input.split(' ').includes(word)).length;
    const best = candidates.toSorted((a, b) => share(b) - share(a)).slice(0, 3);
    expect(found).toEqual(best);
  });

  it('takes keys of any kind', async () => {
    await database.query(`create table other (a text, "b c" date, body text, primary key (a, "b c"));
      insert into other values ('x', '2024-02-29', '1 2'), ('ü', '2024-03-01', '1');
      select embedder.create_pipeline('other', 'body', name => 'o1', index => 'none');
      select embedder.create_pipeline('other', 'body', name => 'o2', target_column => 'terms', index => 'none', model => 'matrix/splade',
        options => '{"vector_type": "sparsevec"}')`);
    await work();
    const found = await fused('', { pipelines: `array['o1', 'o2']`, query: '2' });
    expect(found.find(({ ranks }) => ranks[1] === 1)).toMatchObject({
      key: { a: 'x', 'b c': '2024-02-29' },
      input: '1 2',
    });
    await expect(fused('', { pipelines: `array['o1', 'dense']` })).rejects.toThrow(
      'pipelines "o1" and "dense" are of different tables',
    );
  });

  it("has the caller's rights, and row level security", async () => {
    await work();
    // The cache answers a role that has no second connection.
    await fused();
    await database.query(`grant usage on schema embedder to ${reader.name}; grant select on embedder.pipeline to ${reader.name};
      grant select on doc, dense_embedding to ${reader.name}; alter table doc enable row level security;
      create policy blue on doc for select to ${reader.name} using (colour = 'blue')`);
    const client = await database.pool.connect();
    try {
      await client.query(`set role ${reader.name}`);
      await expect(fused('', { on: client })).rejects.toMatchObject({ code: '42501' });
      await database.query(`grant select on sparse_embedding to ${reader.name}`);
      const found = await fused(', 40', { on: client });
      expect(found.length).toBeGreaterThan(10);
      for (const { key } of found) expect((key as { id: number }).id % 2).toBe(1);
    } finally {
      client.release(true);
    }
  });
});

it.each([
  [`'{}'::text[], 'a'`, 'fused_search takes 1 to 20 pipelines'],
  [`null, 'a'`, 'fused_search takes 1 to 20 pipelines'],
  [`array['dense', 'dense'], 'a'`, 'a pipeline is named twice, or is null'],
  [`array['dense', null], 'a'`, 'a pipeline is named twice, or is null'],
  [`array['dense', 'spars'], 'a'`, 'there is no pipeline "spars"'],
  [`${BOTH}, 'a', 0`, 'k is 0, and must be from 1 to 1,000,000'],
  [`${BOTH}, 'a', 10, array[1]`, 'weights is {1}, and there are 2 pipelines'],
  [`${BOTH}, 'a', 10, array[1, -1]`, 'weights is {1,-1}, and there are 2 pipelines'],
  [`${BOTH}, 'a', 10, array[0, 0]`, 'weights is {0,0}, and there are 2 pipelines'],
  [`${BOTH}, 'a', 10, array[1, null]`, 'weights is {1,NULL}, and there are 2 pipelines'],
  [`${BOTH}, 'a', 10, array['NaN', 1]::float8[]`, 'weights is {NaN,1}, and there are 2 pipelines'],
  [`${BOTH}, 'a', 10, null, -1`, 'rrf_k is -1, and must be 0 or more'],
  [`${BOTH}, 'a', 10, rerank => 'm', candidates => 5`, 'candidates is 5, and must be from k (10) to'],
])('refuses %s', async (call, message) => {
  await expect(database.query(`select * from embedder.fused_search(${call})`)).rejects.toThrow(message);
});
