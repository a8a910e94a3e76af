import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let reader: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  reader = await createRole();
  await database.query(`grant usage on schema embedder to ${reader.name};
    grant select on embedder.pipeline to ${reader.name};
    -- A vector at so many degrees from that of 0.
    create function at_angle(a float8) returns vector language sql immutable as
      $$ select (array[cosd(a), sind(a)] || array_fill(0::float8, array[382]))::vector $$`);
});
afterAll(async () => {
  await database.drop();
  await reader.drop();
});
afterEach(() =>
  database.query(`select embedder.drop_pipeline(name, true) from embedder.pipeline;
    drop table if exists doc, doc_embedding cascade`),
);

const TEXTS = ['a cat sits', 'two cats and a cat', 'a dog barks', 'birds sing', 'fish swim'];

/** Rows 1 to 5 at 10, 20, ... 50 degrees; row 6, of words alone, has no vector yet. */
async function fill(rest = '', input = 'body'): Promise<void> {
  await database.query(`create table doc (id int primary key, title text, body text);
    select embedder.create_pipeline('doc', '${input}', name => 'doc', index => 'none'${rest})`);
  await database.query(
    'insert into doc (id, body) select i, body from unnest($1::text[]) with ordinality t(body, i)',
    [[...TEXTS, 'the last cat']],
  );
  await database.query(
    rest.includes('target_column')
      ? 'update doc set e = at_angle(10 * id) where id < 6'
      : `insert into doc_embedding (id, embedding, model) select id, at_angle(10 * id), 'm' from doc where id < 6`,
  );
}

interface Found {
  row_key: string;
  score: number;
  similarity: number | null;
  vector_rank: number | null;
  full_text_rank: number | null;
  input: string;
}

async function search(parameters = '', query = 'cats'): Promise<Found[]> {
  const { rows } = await database.query<Found>(
    `select * from embedder.hybrid_search('doc', $1, at_angle(0)${parameters})`,
    [query],
  );
  return rows;
}
const keys = async (...args: Parameters<typeof search>) =>
  (await search(...args)).map(({ row_key }) => row_key);

describe('hybrid_search', () => {
  it.each([
    ['a sidecar', ''],
    ['a column', `, target_column => 'e'`],
  ])('fuses the ranks of both lists, on %s', async (_, rest) => {
    await fill(rest);
    const found = await search(', 4');
    // Equal scores stand in the order of the key.
    expect(found).toEqual([
      {
        row_key: '1',
        key: { id: 1 },
        chunk: 0,
        score: expect.closeTo(1 / 61 + 1 / 62, 10),
        similarity: expect.closeTo(Math.cos(Math.PI / 18), 5),
        vector_rank: 1,
        full_text_rank: 2,
        input: 'a cat sits',
      },
      expect.objectContaining({
        row_key: '2',
        score: expect.closeTo(1 / 61 + 1 / 62, 10),
        vector_rank: 2,
        full_text_rank: 1,
      }),
      expect.objectContaining({ row_key: '3', vector_rank: 3, full_text_rank: null }),
      // Found by its words alone.
      expect.objectContaining({
        row_key: '6',
        score: expect.closeTo(1 / 63, 10),
        similarity: null,
        vector_rank: null,
        full_text_rank: 3,
      }),
    ]);
  });

  it('weighs them, and takes another constant', async () => {
    await fill();
    expect(await keys(', 2, full_text_weight => 0')).toEqual(['1', '2']);
    expect(await keys(', 4, vector_weight => 0')).toEqual(['2', '1', '6', '3']);
    expect((await search(', 1, rrf_k => 0, full_text_weight => 2'))[0]).toMatchObject({
      row_key: '2',
      score: 2.5,
    });
  });

  it('filters both lists', async () => {
    await fill();
    expect(await keys(`, filter => 'id > 3'`)).toEqual(['4', '6', '5']);
  });

  it('knows the language and the operators of a web search', async () => {
    await fill();
    const byWords = async (query: string, language: string) =>
      (await search(`, language => '${language}'`, query))
        .filter(({ full_text_rank }) => full_text_rank)
        .map(({ row_key }) => row_key)
        .sort();
    expect(await byWords('cats', 'english')).toEqual(['1', '2', '6']);
    expect(await byWords('cats', 'simple')).toEqual(['2']);
    expect(await byWords('cats -two', 'english')).toEqual(['1', '6']);
    expect(await byWords(`"a cat" or it's's & | ! ( <->`, 'english')).toContain('1');
    // Nothing but stop words: what is left is the meaning.
    expect(await keys('', 'the and')).toEqual(['1', '2', '3', '4', '5']);
  });

  it('finds words in all columns of a template', async () => {
    await fill('', '{title}\\n{body} {{x}}');
    await database.query(`update doc set title = 'Zebra' where id = 5`);
    expect((await search('', 'zebra fish'))[0]).toMatchObject({ row_key: '5', full_text_rank: 1 });
  });

  it('finds words in chunks', async () => {
    await fill(`, chunking => '{"strategy": "tokens", "size": 10}'`);
    await database.query(`update doc_embedding set chunk_text = 'the begin';
      insert into doc_embedding (id, chunk, chunk_text, embedding, model) values (3, 1, 'a cat at the end', at_angle(90), 'm')`);
    expect((await search())[0]).toMatchObject({
      row_key: '3',
      chunk: 1,
      full_text_rank: 1,
      vector_rank: 6,
      input: 'a cat at the end',
    });
    const { rows } = await database.query(`select embedder.full_text_index('doc') as statement`);
    expect(rows).toEqual([
      {
        statement: `create index concurrently on public.doc_embedding using gin (pg_catalog.to_tsvector('english'::pg_catalog.regconfig, chunk_text))`,
      },
    ]);
  });

  it.each([
    ['a column', 'body'],
    ['a template', '{title}\\n{body}'],
  ])('uses the index on the words that it names, for %s', async (_, input) => {
    await fill('', input);
    const { rows } = await database.query<{ statement: string }>(
      `select embedder.full_text_index('doc', 'simple') as statement`,
    );
    await database.query(rows[0]!.statement);
    const client = await database.pool.connect();
    try {
      const { rows: found } = await client.query<{ statement: string }>(
        `select embedder.hybrid_statement('doc', language => 'simple') as statement`,
      );
      await client.query(
        `begin; set local enable_seqscan = off; prepare found(vector, text) as ${found[0]!.statement}`,
      );
      const { rows: plan } = await client.query<{ 'QUERY PLAN': string }>(
        `explain (costs off) execute found(at_angle(0), 'cat')`,
      );
      expect(plan.map((row) => row['QUERY PLAN']).join('\n')).toMatch(/Bitmap Index Scan on doc_\w*idx/);
    } finally {
      await client.query('deallocate all; rollback');
      client.release();
    }
  });

  it('works where key columns bear the names of its own', async () => {
    await database.query(`create table doc (rank int, score text, distance date, weight int, body text, primary key (rank, score, distance, weight));
      insert into doc values (1, 'x', '2024-02-29', 1, 'a cat');
      select embedder.create_pipeline('doc', 'body', index => 'none');
      insert into doc_embedding (rank, score, distance, weight, embedding, model) select rank, score, distance, weight, at_angle(10), 'm' from doc`);
    const key = { rank: 1, score: 'x', distance: '2024-02-29', weight: 1 };
    expect(await search()).toMatchObject([{ key, vector_rank: 1, full_text_rank: 1 }]);
    const { rows } = await database.query(`select key from embedder.search('doc', at_angle(0))`);
    expect(rows).toEqual([{ key }]);
  });

  it("has the caller's rights", async () => {
    await fill();
    const client = await database.pool.connect();
    try {
      await client.query(`begin; grant select on doc, doc_embedding to ${reader.name};
        alter table doc enable row level security;
        create policy few on doc for select to ${reader.name} using (id >= 5);
        set local role ${reader.name}`);
      const { rows } = await client.query(
        `select row_key, full_text_rank from embedder.hybrid_search('doc', 'cat', public.at_angle(0))`,
      );
      expect(rows).toEqual([
        { row_key: '5', full_text_rank: null },
        { row_key: '6', full_text_rank: 1 },
      ]);
    } finally {
      await client.query('rollback');
      client.release();
    }
  });

  it.each([
    [`'doc', 'cat', at_angle(0), 0`, '22023', /k is 0/],
    [`'doc', 'cat', at_angle(0), full_text_weight => -1`, '22023', /full_text_weight is -1/],
    [`'doc', 'cat', at_angle(0), vector_weight => null`, '22023', /vector_weight is <NULL>/],
    [`'doc', 'cat', at_angle(0), rrf_k => -1`, '22023', /rrf_k is -1/],
    [`'doc', 'cat', at_angle(0), language => 'klingon'`, '42704', /klingon/],
    [`'none', 'cat', at_angle(0)`, '42704', /no pipeline/],
    [`'doc', 'cat', at_angle(0), filter => 'true; delete from doc'`, '42601', /syntax error/],
  ])('refuses %s', async (args, code, message) => {
    await fill();
    await expect(database.query(`select * from embedder.hybrid_search(${args})`)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });

  it('finds nothing for nothing', async () => {
    await fill();
    const { rows } = await database.query(`select * from embedder.hybrid_search('doc', ' ')`);
    expect(rows).toEqual([]);
  });
});
