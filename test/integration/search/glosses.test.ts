import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readGlosses } from '../../../src/cli/demo/wordnet.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';

const ROWS = 3_000;
let database: MigratedDatabase;
let worker: Worker;

/** The glosses that come first, embedded by the bundled model, with their index; and a worker that answers. */
beforeAll(async () => {
  database = await createMigratedDatabase();
  const glosses = (await readGlosses()).slice(0, ROWS);
  await database.query(
    'create extension dblink; create table gloss (id int primary key, word text, pos text, gloss text)',
  );
  await database.query(
    'insert into gloss select i, word, pos, gloss from unnest($1::text[], $2::text[], $3::text[]) with ordinality g(word, pos, gloss, i)',
    [glosses.map(({ word }) => word), glosses.map(({ pos }) => pos), glosses.map(({ gloss }) => gloss)],
  );
  await database.query(`select embedder.create_pipeline('gloss', 'gloss')`);
  await workerOn(database).drain();
  await database.query('analyze');
  worker = workerOn(database);
  await worker.start();
});
afterAll(async () => {
  await worker?.stop();
  await database.drop();
});

async function words(call: string): Promise<string[]> {
  const { rows } = await database.query<{ word: string }>(
    `select g.word from ${call} s join gloss g on g.id = s.row_key::int`,
  );
  return rows.map(({ word }) => word);
}

describe('search by a text', () => {
  it.each([
    ['someone who flies planes', /pilot|aviator/],
    ['the place where a sick person is treated', /hospital/],
    ['a large body of salt water', /ocean|sea/],
    ['a piece of furniture to sleep on', /bed/],
  ])('finds "%s" by its meaning', async (query, wanted) => {
    const found = await words(`embedder.search('gloss', '${query}', 5)`);
    expect(found).toHaveLength(5);
    expect(found.join()).toMatch(wanted);
  });

  it('keeps to the filter', async () => {
    const { rows } = await database.query<{ pos: string; n: number }>(
      `select g.pos, count(*)::int as n from embedder.search('gloss', 'with great speed', 10, 'pos = ''adverb''') s
       join gloss g on g.id = s.row_key::int group by g.pos`,
    );
    expect(rows).toEqual([{ pos: 'adverb', n: 10 }]);
  });

  it('can be written by hand, and the index serves it', async () => {
    const statement = `select id from gloss_embedding order by embedding <=> embedder.embed('a young dog') limit 5`;
    const { rows: plan } = await database.query<{ 'QUERY PLAN': string }>(`explain ${statement}`);
    expect(plan.map((row) => row['QUERY PLAN']).join('\n')).toMatch(
      /Index Scan using gloss_embedding_\w*hnsw/,
    );
    const { rows } = await database.query<{ id: number }>(statement);
    const { rows: searched } = await database.query<{ row_key: string }>(
      `select row_key from embedder.search('gloss', 'a young dog', 5)`,
    );
    expect(rows.map(({ id }) => String(id))).toEqual(searched.map(({ row_key }) => row_key));
  });
});

describe('hybrid search', () => {
  it('puts first what fits by meaning and by words', async () => {
    const query = 'licensed to operate an aircraft';
    const { rows } = await database.query<{ input: string; vector_rank: number; full_text_rank: number }>(
      `select * from embedder.hybrid_search('gloss', '${query}', 3)`,
    );
    expect(rows[0]).toMatchObject({
      input: expect.stringContaining('licensed'),
      full_text_rank: 1,
      vector_rank: expect.any(Number),
    });
  });
});
