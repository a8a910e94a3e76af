import { rmSync } from 'node:fs';
import { join } from 'node:path';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import type { TextEmbedder } from '../../../src/inference/text-embedder.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { unpackMatrix } from '../../support/matrix.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { createRole } from '../../support/postgres.ts';

const { directory, cases } = unpackMatrix();
const MODEL = 'matrix/reranker-minilm';
const { texts, queries } = cases.find(({ name }) => name === 'reranker-minilm-pairs') as unknown as {
  texts: string[];
  queries: { query: string; scores: number[] }[];
};

let database: MigratedDatabase;
const workers: Worker[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query('create extension dblink');
});
afterAll(async () => {
  await database.drop();
  rmSync(join(directory, '..'), { recursive: true });
});
afterEach(async () => {
  for (const worker of workers.splice(0)) await worker.stop();
  await database.query('truncate embedder.request, embedder.answer; delete from embedder.worker_process');
});

async function work(embedder?: TextEmbedder): Promise<void> {
  const worker = workerOn(database, embedder ? { embedder } : { modelDirectories: [directory] });
  workers.push(worker);
  await worker.start();
}

interface Ranked {
  place: number;
  score: number | null;
}

async function rerank(query: string | null, given: (string | null)[] | null, model: string | null = MODEL) {
  const { rows } = await database.query<Ranked>('select place, score from embedder.rerank($1, $2, $3)', [
    query,
    given,
    model,
  ]);
  return rows;
}

const known = (...models: [name: string, task: string][]) =>
  database.query(
    `delete from embedder.model where task = 'text-ranking';
     insert into embedder.model (name, task, max_tokens)
     ${models.map(([name, task]) => `select '${name}', '${task}', 128`).join(' union all ')}`,
  );

describe('embedder.rerank', () => {
  it('gives the scores of the reference, the best first', async () => {
    await work();
    const { query, scores } = queries[1]!;
    const rows = await rerank(query, texts);
    expect(rows.map(({ place }) => place).sort((a, b) => a - b)).toEqual(texts.map((_, index) => index + 1));
    const found = rows.filter(({ score }) => score !== null) as { place: number; score: number }[];
    for (const { place, score } of found) expect(score).toBeCloseTo(scores[place - 1]!, 3);
    expect(found.map(({ score }) => score)).toEqual(found.map(({ score }) => score).sort((a, b) => b - a));
    // Those without content come last, and have no score.
    const without = rows.slice(found.length);
    expect(without.map(({ place }) => texts[place - 1]!.trim())).toEqual(without.map(() => ''));
    expect(without.length).toBeGreaterThan(0);
  });

  it('takes what there is to take', async () => {
    await work(new FakeEmbedder([directory]));
    expect(await rerank('a b', ['b', null, 'a b', ' ', 'c'])).toEqual([
      { place: 3, score: 1 },
      { place: 1, score: 0.5 },
      { place: 5, score: 0 },
      { place: 2, score: null },
      { place: 4, score: null },
    ]);
    expect(await rerank('a', [])).toEqual([]);
    expect(await rerank('a', null)).toEqual([]);
    for (const nothing of [null, '', ' \n'])
      expect(await rerank(nothing, ['a'])).toEqual([{ place: 1, score: null }]);
    expect(await rerank('a', [null, ''])).toEqual([
      { place: 1, score: null },
      { place: 2, score: null },
    ]);
    // Rows of a statement, inside a transaction that cannot see what others commit.
    const { rows } = await database
      .query<{ place: number }>(`begin isolation level repeatable read;
      select r.place from (values (array['x', 'a']), (array['a', 'x'])) t(list), embedder.rerank('a', t.list, '${MODEL}') r where r.score > 0;
      commit`)
      .then((results) => (results as unknown as { rows: { place: number }[] }[])[1]!);
    expect(rows).toEqual([{ place: 2 }, { place: 1 }]);
  });

  it('a text that the model cannot read costs the others nothing', async () => {
    const embedder = new FakeEmbedder([directory]);
    embedder.fault = (text) => (text === 'poison' ? new EngineError('died', 'it died') : undefined);
    await work(embedder);
    expect(await rerank('a', ['poison', 'a'])).toEqual([
      { place: 2, score: 1 },
      { place: 1, score: null },
    ]);
  });

  it('takes the only model that ranks, and says what to do where there is none or another', async () => {
    await work(new FakeEmbedder([directory]));
    await known([MODEL, 'text-ranking']);
    expect(await rerank('a', ['a'], null)).toEqual([{ place: 1, score: 1 }]);
    await known([MODEL, 'text-ranking'], ['another', 'text-ranking']);
    await expect(rerank('a', ['a'], null)).rejects.toMatchObject({
      message: 'no model that ranks texts is named, and none is set',
      hint: expect.stringMatching(
        /^Name one that a worker has, as model => 'another'; or set it: alter database \S+ set embedder.rerank_model = ...; Known are another, matrix\/reranker-minilm\.$/,
      ),
    });
    const client = await database.pool.connect();
    await client.query(`set embedder.rerank_model = '${MODEL}'`);
    const { rows } = await client.query(`select r.place from embedder.rerank('a', array['x', 'a']) r`);
    await client.query('reset embedder.rerank_model');
    client.release();
    expect(rows).toEqual([{ place: 2 }, { place: 1 }]);
    await database.query(`delete from embedder.model where task = 'text-ranking'`);
    await expect(rerank('a', ['a'], 'all-MiniLM-L6-v2')).rejects.toMatchObject({
      code: '42704',
      message: "Model 'all-MiniLM-L6-v2' is for feature-extraction, not for text-ranking",
    });
    await expect(rerank('a', ['a'], 'nothing')).rejects.toMatchObject({ code: '42704' });
  });

  it('refuses too many texts, and cuts long ones', async () => {
    const embedder = new FakeEmbedder([directory]);
    await work(embedder);
    await known([MODEL, 'text-ranking']);
    await expect(rerank('a', new Array(1_001).fill('a'))).rejects.toMatchObject({
      code: '54000',
      message: 'there are 1001 texts to rank, and may be 1000',
    });
    await rerank('a', ['x'.repeat(10_000_000)]);
    expect(embedder.calls.at(-1)!.map(({ length }) => length)).toEqual([128 * 64]);
    await expect(rerank('x'.repeat(10_000), ['a'])).rejects.toMatchObject({ code: '54000' });
    // Nor does the second connection take more, by whatever way.
    for (const options of [
      { texts: new Array(1_001).fill('a') },
      { texts: ['x'.repeat(100_000)] },
      { texts: 'a' },
      { texts: [1] },
    ])
      await expect(
        database.query(`select embedder.post_request('me', $1, $2, 'a', '1 minute')`, [MODEL, options]),
      ).rejects.toMatchObject({ code: '54000' });
  });

  it('is for whoever may search by text', async () => {
    await work(new FakeEmbedder([directory]));
    const role = await createRole();
    const client = new pg.Client(database.urlAs(role));
    await client.connect();
    try {
      const ask = () => client.query<Ranked>(`select * from embedder.rerank('a', array['a'], '${MODEL}')`);
      await expect(ask()).rejects.toMatchObject({ code: '42501' });
    } finally {
      await client.end();
      await role.drop();
    }
  });
});

describe('a search with a model that ranks', () => {
  beforeAll(async () => {
    await database.query(`create table note (id int primary key, body text);
      insert into note select n, case n when 17 then 'apple pie' else 'text ' || n end from generate_series(1, 30) n;
      select embedder.create_pipeline('note', 'body', index => 'none')`);
    const worker = workerOn(database, { embedder: new FakeEmbedder() });
    await worker.drain();
  });

  it.each(['search', 'hybrid_search'])('%s ranks the candidates', async (name) => {
    const embedder = new FakeEmbedder([directory]);
    await work(embedder);
    const search = async (more: string) =>
      (
        await database.query<{ key: { id: number }; input: string }>(
          `select * from embedder.${name}('note', 'apple pie', 3${more})`,
        )
      ).rows;
    const plain = await search('');
    expect(plain).toHaveLength(3);
    const ranked = await search(`, rerank => '${MODEL}'`);
    expect(ranked).toHaveLength(3);
    expect(ranked[0]).toMatchObject({ key: { id: 17 }, input: 'apple pie' });
    // What it ranks: by default forty, here all.
    expect(embedder.calls.at(-1)).toHaveLength(30);
    await search(`, rerank => '${MODEL}', candidates => 5`);
    expect(embedder.calls.at(-1)).toHaveLength(5);
    for (const candidates of [2, 1_001])
      await expect(search(`, rerank => '${MODEL}', candidates => ${candidates}`)).rejects.toMatchObject({
        code: '22023',
        message: `candidates is ${candidates}, and must be from k (3) to 1000`,
      });
    expect(
      (await database.query(`select * from embedder.${name}('note', null, 3, rerank => '${MODEL}')`))
        .rowCount,
    ).toBe(0);
  });

  it('a view that was made with the function of an earlier version goes on', async () => {
    const today = 'embedder.search(text, text, int, text, text, int)';
    await database.query(`alter function ${today} rename to later;
      create function embedder.search(pipeline text, query text, k int, filter text)
        returns table (row_key text, key jsonb, chunk int, similarity double precision, input text) language sql stable
        as $$ select 'old', null::jsonb, 0, 0::double precision, 'old' $$;
      create view public.found as select * from embedder.search('note', 'x'::text, 1, null)`);
    await database.query(`select embedder.retire_function('search(text, text, int, text)');
      alter function ${today.replace('search', 'later')} rename to search`);
    expect((await database.query('select row_key from public.found')).rows).toEqual([{ row_key: 'old' }]);
    await database.query('drop view public.found');
    const { rows } = await database.query(
      `select oid::regprocedure::text from pg_proc where pronamespace = 'embedder'::regnamespace and proname ~ '^search_\\d+$'`,
    );
    expect(rows).toHaveLength(1);
  });
});
