import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { saveModels } from '../../../src/database/models.ts';
import { knownModels } from '../../../src/models/known-models.ts';
import { createModelStore } from '../../../src/models/store.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { unpackMatrix } from '../../support/matrix.ts';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';

// With a real model, whose vectors a reference has computed too.

const { directory, cases } = unpackMatrix();
const MODEL = 'matrix/splade';
/** Texts with content, and the numbers that each place of their vectors has. */
const reference = cases
  .find(({ name }) => name === 'splade')!
  .rows.filter(({ text }) => text.trim() !== '')
  .map(({ text, passage }) => ({ text, numbers: passage! }));

let database: MigratedDatabase;
const workers: Worker[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query('create extension dblink');
  await saveModels(database.kysely, knownModels(createModelStore({ directories: [directory] })));
});
afterAll(async () => {
  await database.drop();
  rmSync(join(directory, '..'), { recursive: true });
});
beforeEach(async () => {
  await database.query('create table doc (id int primary key, body text)');
  await database.query('insert into doc select i, t from unnest($1::text[]) with ordinality u(t, i)', [
    reference.map(({ text }) => text),
  ]);
});
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop();
  await database.query(`select embedder.drop_pipeline(name, true) from embedder.pipeline where live; drop table doc cascade;
    truncate embedder.query_vector; delete from embedder.worker_process`);
});

const create = (rest = '', options = {}) =>
  database.query(
    `select embedder.create_pipeline('doc', 'body', model => '${MODEL}', options => $1${rest})`,
    [{ vector_type: 'sparsevec', ...options }],
  );
const drain = () => workerOn(database, { modelDirectories: [directory] }).drain();
async function work(): Promise<Worker> {
  const worker = workerOn(database, { modelDirectories: [directory] });
  workers.push(worker);
  await worker.start();
  return worker;
}
const status = async () => (await database.query('select * from embedder.status')).rows[0]!;

/** A vector in pgvector's text, as its numbers by place from 0. */
function parse(text: string): Map<number, number> {
  const [, pairs] = /^\{(.*)\}\/600$/.exec(text)!;
  return new Map(
    pairs!
      .split(',')
      .filter(Boolean)
      .map((pair) => {
        const [place, value] = pair.split(':').map(Number);
        return [place! - 1, value!];
      }),
  );
}

/** The vectors that a query gives for (text, vector) are those of the reference, its largest `most` numbers. */
async function expectReference(query: string, most = 600): Promise<void> {
  const { rows } = await database.query<{ text: string; vector: string }>(
    `select q.text, q.vector::text from (${query}) q(text, vector)`,
  );
  expect(rows.length).toBeGreaterThan(0);
  for (const { text, vector } of rows) {
    const { numbers } = reference.find((each) => each.text === text)!;
    const kept = parse(vector);
    const positive = numbers.filter((each) => each > 0).length;
    // Of a number that is next to nothing either side may have 0.
    expect(Math.abs(kept.size - Math.min(most, positive))).toBeLessThanOrEqual(2);
    const least = numbers.toSorted((a, b) => b - a)[most - 1] ?? 0;
    for (const [place, value] of numbers.entries()) {
      if (kept.has(place)) expect(kept.get(place)).toBeCloseTo(value, 3);
      else expect(value).toBeLessThan(least + 0.001);
    }
  }
}

const product = (a: readonly number[], b: readonly number[]) =>
  a.reduce((sum, each, i) => sum + each * b[i]!, 0);

/** Row keys by their inner product with the text of a row, the largest first, and these products. */
function byProduct(id: number): { key: string; similarity: number }[] {
  return reference
    .map(({ numbers }, place) => ({
      key: String(place + 1),
      similarity: product(numbers, reference[id - 1]!.numbers),
    }))
    .sort((a, b) => b.similarity - a.similarity);
}

/** Compares a search with the products, places with next to equal ones exchanged or not. */
function expectOrder(found: { row_key: string; similarity: number }[], id: number): void {
  const wanted = byProduct(id);
  expect(found.map(({ similarity }) => similarity)).toEqual(
    wanted.slice(0, found.length).map(({ similarity }) => expect.closeTo(similarity, 1)),
  );
  for (const { row_key, similarity } of found)
    expect(similarity).toBeCloseTo(wanted.find(({ key }) => key === row_key)!.similarity, 1);
}

const search = async (query: string, k: number, rest = '') =>
  (
    await database.query<{ row_key: string; similarity: number; input: string }>(
      `select * from embedder.search('doc', $1, $2${rest})`,
      [query, k],
    )
  ).rows;

describe('a sidecar', () => {
  it('has the vectors of the reference, an index on their inner product, and is searched by it', async () => {
    await create();
    const worker = await work();
    await once(worker.events, 'indexed');
    expect(await status()).toMatchObject({ state: 'live', coverage: '1.0000', index_state: 'built' });
    await expectReference('select d.body, e.embedding from doc d join doc_embedding e using (id)');
    const { rows: types } = await database.query<{ type: string; index: string }>(
      `select format_type(atttypid, atttypmod) as type,
        (select pg_get_indexdef(indexrelid) from pg_index where indrelid = attrelid and not indisprimary) as index
      from pg_attribute where attrelid = 'doc_embedding'::regclass and attname = 'embedding'`,
    );
    expect(types[0]).toEqual({
      type: 'sparsevec(600)',
      index: expect.stringMatching(/using hnsw \(embedding sparsevec_ip_ops\)/i),
    });
    expectOrder(await search(reference[2]!.text, reference.length), 3);
    // All but the whole texts, to have a filter take some away.
    const filtered = await search(reference[2]!.text, 5, `, filter => 'id > 10'`);
    expect(filtered.map(({ row_key }) => row_key)).toEqual(
      byProduct(3)
        .map(({ key }) => key)
        .filter((key) => Number(key) > 10)
        .slice(0, 5),
    );
  });

  it('is searched through its index', async () => {
    await create();
    await once((await work()).events, 'indexed');
    const client = await database.pool.connect();
    try {
      await client.query('set enable_seqscan = off');
      const { rows } = await client.query<{ statement: string }>(
        `select embedder.search_statement('doc', 5) as statement`,
      );
      await client.query(`prepare found(sparsevec) as ${rows[0]!.statement}`);
      const plan = await client.query<{ 'QUERY PLAN': string }>(`explain execute found('{1:1}/600')`);
      expect(plan.rows.map((row) => row['QUERY PLAN']).join('\n')).toMatch(
        /Index Scan using doc_embedding_\d+_hnsw/,
      );
    } finally {
      client.release(true);
    }
  });

  it('follows what changes, and is empty for what has no text', async () => {
    await create(`, index => 'none'`);
    await drain();
    await database.query(`update doc set body = (select body from doc where id = 2) where id = 1;
      update doc set body = '  ' where id = 3; update doc set body = null where id = 4; delete from doc where id = 5;
      insert into doc values (100, $$${reference[0]!.text}$$)`);
    expect(await drain()).toMatchObject({ failing: [] });
    await expectReference('select d.body, e.embedding from doc d join doc_embedding e using (id)');
    const { rows } = await database.query<{ ids: number[] }>(
      'select array_agg(id order by id) as ids from doc_embedding where id < 7 or id = 100',
    );
    expect(rows[0]!.ids).toEqual([1, 2, 6, 100]);
    expect(await status()).toMatchObject({ coverage: '1.0000', empty_rows: '2' });
    expect((await database.query(`select * from embedder.verify('doc')`)).rows).toEqual([]);
    // What no trigger sees is found by the hash, as with any result.
    await database.query(`set session_replication_role = replica; update doc set body = (select body from doc where id = 8) where id = 7;
      set session_replication_role = origin; select embedder.backfill('doc', stale => true)`);
    await drain();
    await expectReference('select d.body, e.embedding from doc d join doc_embedding e using (id)');
  });

  it('keeps the largest numbers alone, of rows and of queries', async () => {
    await create(`, index => 'none'`, { top_k: 20 });
    await drain();
    await expectReference('select d.body, e.embedding from doc d join doc_embedding e using (id)', 20);
    await work();
    const [best] = await search(reference[5]!.text, 1);
    const numbers = reference[5]!.numbers.toSorted((a, b) => b - a).slice(0, 20);
    expect(best).toMatchObject({ row_key: '6', similarity: expect.closeTo(product(numbers, numbers), 1) });
  });

  it('has chunks, each with its vector', async () => {
    await database.query('delete from doc where id > 4');
    await create(`, index => 'none', chunking => '{"strategy": "tokens", "size": 8, "overlap": 0}'`);
    await drain();
    const { rows } = await database.query<{ n: number; chunks: number }>(
      'select count(distinct id)::int as n, count(*)::int as chunks from doc_embedding where embedding is not null',
    );
    expect(rows[0]!.n).toBe(4);
    expect(rows[0]!.chunks).toBeGreaterThan(4);
    await work();
    const hit = (await search('Hello world', 1))[0]!;
    expect(
      (await database.query('select 1 from doc_embedding where chunk_text = $1', [hit.input])).rowCount,
    ).toBeGreaterThan(0);
  });
});

it('a column of the source holds them as well', async () => {
  await create(`, target_column => 'terms', index => 'none'`);
  await drain();
  await expectReference('select body, terms from doc');
  // What an application writes over them is put right.
  await database.query(`update doc set terms = '{1:1}/600' where id = 2`);
  await drain();
  await expectReference('select body, terms from doc');
  await work();
  expectOrder(await search(reference[1]!.text, 5), 2);
});

describe('by another distance', () => {
  it.each([
    [
      'sparsevec_cosine_ops',
      (a: number[], b: number[]) => product(a, b) / Math.hypot(...a) / Math.hypot(...b),
    ],
    ['sparsevec_l2_ops', (a: number[], b: number[]) => -Math.hypot(...a.map((each, i) => each - b[i]!))],
  ])('%s', async (operatorClass, similarity) => {
    await create(`, index_options => '{"operator_class": "${operatorClass}"}'`);
    await once((await work()).events, 'indexed');
    const numbers = reference[8]!.numbers as number[];
    const wanted = reference
      .map((each) => similarity(each.numbers as number[], numbers))
      .sort((a, b) => b - a);
    const found = await search(reference[8]!.text, 10);
    expect(found[0]!.row_key).toBe('9');
    expect(found.map((row) => row.similarity)).toEqual(
      wanted.slice(0, 10).map((each) => expect.closeTo(each, 2)),
    );
  });
});

describe('query texts', () => {
  it('have the vector of the reference, by SQL as by a search; the cache answers without a worker', async () => {
    await create(`, index => 'none'`);
    const worker = await work();
    const embed = async (call: string) =>
      (await database.query<{ v: string }>(`select ${call}::text as v`)).rows[0]!.v;
    const text = `$$${reference[3]!.text}$$`;
    const direct = await embed(`embedder.embed_sparse(${text}, '${MODEL}')`);
    for (const [place, value] of parse(direct)) expect(value).toBeCloseTo(reference[3]!.numbers[place]!, 3);
    const few = await embed(`embedder.embed_sparse(${text}, '${MODEL}', '{"top_k": 3}')`);
    expect(parse(few).size).toBe(3);
    // All numbers of it are fewer than the thousand that a pipeline keeps.
    const ofPipeline = await embed(`embedder.embed_sparse_for('doc', ${text})`);
    expect(parse(ofPipeline)).toEqual(parse(direct));
    expect(await embed(`embedder.embed_sparse(' ', '${MODEL}')`)).toBeNull();
    await worker.stop();
    expect(await embed(`embedder.embed_sparse(${text}, '${MODEL}', '{"top_k": 3}')`)).toBe(few);
    expect(await embed(`embedder.embed_sparse_for('doc', ${text})`)).toBe(ofPipeline);
  });

  it('are refused where the kind of vector is another one', async () => {
    await create(`, index => 'none'`);
    await database.query(`select embedder.create_pipeline('doc', 'body', name => 'dense', index => 'none')`);
    await work();
    for (const [call, message] of [
      [`embedder.embed('a', '${MODEL}')`, /are sparse, and dense ones are asked for/],
      [`embedder.embed_sparse('a', 'all-MiniLM-L6-v2')`, /are dense, and sparse ones are asked for/],
      [`embedder.embed_for('doc', 'a')`, /vectors of pipeline "doc" are of type sparsevec/],
      [`embedder.embed_sparse_for('dense', 'a')`, /vectors of pipeline "dense" are of type vector/],
      [
        `embedder.embed_sparse('a', '${MODEL}', '{"pooling": "max"}')`,
        /embed_sparse has no option "pooling"/,
      ],
      [`embedder.embed_sparse('a', '${MODEL}', '{"top_k": 0}')`, /option "top_k" is 0/],
    ] as const)
      await expect(database.query(`select ${call}`), call).rejects.toThrow(message);
  });
});

it('a hybrid search fuses their ranks with those of the words', async () => {
  await create(`, index => 'none'`);
  await work();
  const { text } = reference.find((each) => /^[a-z ]+$/i.test(each.text) && each.text.includes(' '))!;
  const id = reference.findIndex((each) => each.text === text) + 1;
  await drain();
  const { rows } = await database.query<Record<string, unknown>>(
    `select * from embedder.hybrid_search('doc', $1, 3)`,
    [text],
  );
  expect(rows[0]).toMatchObject({
    row_key: String(id),
    vector_rank: byProduct(id).findIndex(({ key }) => key === String(id)) + 1,
    full_text_rank: 1,
    similarity: expect.closeTo(product(reference[id - 1]!.numbers, reference[id - 1]!.numbers), 1),
  });
});

it('a fused search takes the ranks of a dense and of a sparse pipeline', async () => {
  await create(`, index => 'none'`);
  await database.query(`select embedder.create_pipeline('doc', 'body', name => 'dense', index => 'none')`);
  await drain();
  await work();
  const text = reference[2]!.text;
  const { rows } = await database.query<{
    row_key: string;
    ranks: number[];
    similarities: number[];
    input: string;
  }>(`select * from embedder.fused_search(array['doc', 'dense'], $1, 40)`, [text]);
  const found = rows.find(({ row_key }) => row_key === '3')!;
  expect(found).toMatchObject({ input: text, similarities: [expect.any(Number), expect.closeTo(1, 2)] });
  expect(found.ranks[1]).toBe(1);
  for (const { row_key, similarities } of rows)
    expect(similarities[0]).toBeCloseTo(byProduct(3).find(({ key }) => key === row_key)!.similarity, 1);
});

it('the next generation of a dense pipeline may be sparse, and the other way round', async () => {
  await database.query(`select embedder.create_pipeline('doc', 'body', index => 'none')`);
  await drain();
  await database.query(
    `select embedder.alter_pipeline('doc', model => '${MODEL}', options => '{"vector_type": "sparsevec"}')`,
  );
  await drain();
  expect(await status()).toMatchObject({ next_state: 'filled', next_model: MODEL });
  await database.query(
    `update doc set body = $$${reference[4]!.text}$$ where id = 1; select embedder.cutover('doc')`,
  );
  await drain();
  await expectReference('select body, embedding from doc_with_embedding');
  await work();
  expectOrder(await search(reference[3]!.text, 1), 4);
  expect(
    (
      await database.query<{ done: string }>(
        `select embedder.alter_pipeline('doc', options => '{"vector_type": "sparsevec"}') as done`,
      )
    ).rows[0]!.done,
  ).toBe('unchanged');
  await database.query(
    `select embedder.alter_pipeline('doc', model => 'all-MiniLM-L6-v2', options => '{}', auto_cutover => true)`,
  );
  await drain();
  expect(await status()).toMatchObject({ model: 'all-MiniLM-L6-v2', generation: 3 });
});

it('a worker that has another kind of model than was declared says so', async () => {
  await database.query(`insert into embedder.model (name, task, dimensions) values ('x/y', 'feature-extraction', 600) on conflict do nothing;
    delete from embedder.model where name = '${MODEL}'`);
  try {
    await database.query(
      `select embedder.create_pipeline('doc', 'body', model => '${MODEL}', index => 'none', options => '{"dimensions": 600}')`,
    );
    const { failing } = await drain();
    expect(failing).toMatchObject([
      {
        pipeline: 'doc',
        error: expect.stringMatching(
          /gives sparse vectors, and the target of pipeline "doc" is for dense ones/,
        ),
      },
    ]);
  } finally {
    await saveModels(database.kysely, knownModels(createModelStore({ directories: [directory] })));
  }
});
