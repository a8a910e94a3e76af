import type pg from 'pg';
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
    drop table if exists doc, "Mixed ""Case", numbers cascade`),
);

interface Found {
  row_key: string;
  key: unknown;
  chunk: number;
  similarity: number;
  input: string | null;
}

/** Rows 1 to 6 at 10, 20, ... 60 degrees; the odd ones are red. */
async function fill(rest = ''): Promise<void> {
  await database.query(`
    create table doc (id int primary key, body text, colour text);
    insert into doc select i, 'text ' || i, case when i % 2 = 1 then 'red' else 'blue' end from generate_series(1, 6) i;
    select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
  await database.query(
    rest.includes('target_column')
      ? 'update doc set e = at_angle(10 * id)'
      : `insert into doc_embedding (id, embedding, model) select id, at_angle(10 * id), 'm' from doc`,
  );
}

type Session = { query(statement: string, parameters?: unknown[]): Promise<{ rows: unknown[] }> };

async function search(parameters = '', on: Session = database, pipeline = 'doc'): Promise<Found[]> {
  const { rows } = await on.query(
    `select * from embedder.search('${pipeline}', public.at_angle(0)${parameters})`,
  );
  return rows as Found[];
}
const keys = async (...args: Parameters<typeof search>) =>
  (await search(...args)).map(({ row_key }) => row_key);

async function inTransaction(use: (client: pg.PoolClient) => Promise<void>): Promise<void> {
  const client = await database.pool.connect();
  try {
    await client.query('begin');
    await use(client);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

describe('search by a vector', () => {
  it.each([
    ['a sidecar', ''],
    ['a column', `, target_column => 'e'`],
  ])('gives the nearest of %s, the nearest first', async (_, rest) => {
    await fill(rest);
    expect(await search(', 2')).toEqual([
      {
        row_key: '1',
        key: { id: 1 },
        chunk: 0,
        similarity: expect.closeTo(Math.cos(Math.PI / 18), 5),
        input: 'text 1',
      },
      {
        row_key: '2',
        key: { id: 2 },
        chunk: 0,
        similarity: expect.closeTo(Math.cos(Math.PI / 9), 5),
        input: 'text 2',
      },
    ]);
    expect(await keys()).toEqual(['1', '2', '3', '4', '5', '6']);
    expect(await keys(`, 2, 'colour = ''blue'''`)).toEqual(['2', '4']);
    await database.query(
      rest ? 'update doc set e = null where id < 6' : 'delete from doc_embedding where id < 6',
    );
    expect(await keys()).toEqual(['6']);
  });

  it('gives each chunk', async () => {
    await fill();
    await database.query(`update doc_embedding set chunk_text = 'begin ' || id;
      insert into doc_embedding (id, chunk, chunk_text, embedding, model) values (3, 1, 'end 3', at_angle(5), 'm')`);
    expect(await search(', 2')).toMatchObject([
      { row_key: '3', chunk: 1, input: 'end 3' },
      { row_key: '1', chunk: 0, input: 'begin 1' },
    ]);
    expect(await search(`, 10, 'id = 3'`)).toMatchObject([{ chunk: 1 }, { chunk: 0 }]);
  });

  it('works with names and keys of any kind, and joins to the source', async () => {
    await database.query(`create table "Mixed ""Case" ("Key 1" date, "order" bigint, "te'xt" text, primary key ("order", "Key 1"));
      insert into "Mixed ""Case" values ('2024-02-29', 9007199254740993, 'leap'), ('2024-03-01', 1, 'spring');
      select embedder.create_pipeline('"Mixed ""Case"', '{te''xt}!', name => 'it''s', index => 'none', target_table => 'vectors');
      insert into vectors ("Key 1", "order", embedding, model) select "Key 1", "order", at_angle(case "order" when 1 then 20 else 10 end), 'm' from "Mixed ""Case"`);
    const { rows } = await database.query(
      `select s.key, s.row_key, s.input, m."order" from embedder.search('it''s', at_angle(0), 1, '"te''xt" = ''leap''') s
       join "Mixed ""Case" m on m."order" = (s.key ->> 'order')::bigint and m."Key 1" = (s.key ->> 'Key 1')::date`,
    );
    expect(rows).toEqual([
      {
        key: expect.anything(),
        row_key: '{"Key 1": "2024-02-29", "order": 9007199254740993}',
        input: 'leap!',
        order: '9007199254740993',
      },
    ]);
    await database.query('drop table vectors cascade');
  });

  it('works on half-precision vectors', async () => {
    await fill();
    await database.query('alter table doc_embedding alter embedding type halfvec(384)');
    expect(await keys(', 3')).toEqual(['1', '2', '3']);
  });

  it.each([
    ['ip', '<#>', (degrees: number) => Math.cos((degrees * Math.PI) / 180)],
    ['l2', '<->', (degrees: number) => -2 * Math.sin((degrees * Math.PI) / 360)],
  ])('compares by the distance that the index is for: %s', async (kind, operator, similarity) => {
    await fill();
    await database.query(
      `select embedder.alter_pipeline('doc', index => 'hnsw', index_options => '{"operator_class": "vector_${kind}_ops"}')`,
    );
    const { rows } = await database.query<{ statement: string }>(
      `select embedder.search_statement('doc') as statement`,
    );
    expect(rows[0]!.statement).toContain(`operator(public.${operator})`);
    expect(await search(', 2')).toMatchObject([
      { row_key: '1', similarity: expect.closeTo(similarity(10), 5) },
      { row_key: '2', similarity: expect.closeTo(similarity(20), 5) },
    ]);
  });

  it('finds nothing for no vector', async () => {
    await fill();
    const { rows } = await database.query(`select * from embedder.search('doc', null::vector)`);
    expect(rows).toEqual([]);
    // A text without content has no vector.
    expect((await database.query(`select * from embedder.search('doc', ' ')`)).rows).toEqual([]);
  });

  it.each([
    [`'none', at_angle(0)`, '42704', /there is no pipeline "none"/],
    [`'doc', at_angle(0), 0`, '22023', /k is 0/],
    [`'doc', at_angle(0), null`, '22023', /k is <NULL>/],
    [`'doc', '[1,2,3]'::vector`, '22000', /expected 384 dimensions, not 3/],
    [`'doc', at_angle(0), 10, 'colour = '`, '42601', /syntax error/],
    [`'doc', at_angle(0), 10, 'no_column = 1'`, '42703', /no_column/],
  ])('refuses %s', async (args, code, message) => {
    await fill();
    await expect(database.query(`select * from embedder.search(${args})`)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
  });
});

describe('the filter', () => {
  it('sees the columns of the source, by their names or with the name of the table', async () => {
    await fill();
    expect(await keys(`, 10, 'id > 3 and doc.colour = ''red'' -- odd'`)).toEqual(['5']);
    expect(await keys(`, 10, 'id in (select max(d.id) from doc d where d.colour = doc.colour)'`)).toEqual([
      '5',
      '6',
    ]);
    expect(await keys(`, 10, 'false or true'`)).toHaveLength(6);
  });

  it("finds the caller's own functions and operators", async () => {
    await fill();
    await inTransaction(async (client) => {
      await client.query(`create schema own; set local search_path = own, public;
        create function is_red(colour text) returns boolean language sql as $$ select colour = 'red' $$`);
      expect(await keys(`, 10, 'is_red(colour)'`, client)).toEqual(['1', '3', '5']);
    });
  });

  it('is one condition: no second statement', async () => {
    await fill();
    // Each makes two well-formed statements.
    const begin = 'true)) source on true) nearest join doc source on true';
    const end =
      'select from (select target.id, 0::float8 as _distance from doc_embedding target join (select * from doc where (true';
    for (const stacked of [`${begin}; delete from doc; ${end}`, `${begin}; ${end}`]) {
      await expect(keys(`, 10, $q$${stacked}$q$`), stacked).rejects.toMatchObject({
        code: '42P11',
        message: expect.stringMatching(/^the filter '.*' does not work on /),
      });
    }
    await expect(keys(`, 10, 'true; delete from doc'`)).rejects.toMatchObject({ code: '42601' });
    expect((await database.query('select from doc')).rows).toHaveLength(6);
  });
});

describe('rights', () => {
  it("are the caller's", async () => {
    await fill();
    await inTransaction(async (client) => {
      await client.query(`set local role ${reader.name}; savepoint before`);
      // Whoever may not read the table does not even see that it has a pipeline; who may, needs the sidecar too.
      await expect(keys('', client)).rejects.toMatchObject({ code: '42704' });
      await client.query('rollback to before; reset role');
      await client.query(
        `grant select on doc to ${reader.name}; set local role ${reader.name}; savepoint half`,
      );
      await expect(keys('', client)).rejects.toMatchObject({ code: '42501' });
      await client.query('rollback to half; reset role');
      await client.query(
        `grant select on doc, doc_embedding to ${reader.name}; set local role ${reader.name}`,
      );
      expect(await keys(', 1', client)).toEqual(['1']);
    });
  });

  it('include row level security: hidden rows take up no places', async () => {
    await fill();
    await inTransaction(async (client) => {
      await client.query(`grant select on doc, doc_embedding to ${reader.name};
        alter table doc enable row level security;
        create policy blue on doc for select to ${reader.name} using (colour = 'blue');
        set local role ${reader.name}`);
      expect(await keys(', 3', client)).toEqual(['2', '4', '6']);
      expect(await keys(`, 3, 'id < 4'`, client)).toEqual(['2']);
    });
  });
});

/** 3,000 vectors in a circle, one in a hundred of them rare, with an index. */
async function fillCircle(index: string, column = false): Promise<void> {
  await database.query(`create table numbers (id int primary key, body text, rare boolean);
    insert into numbers select i, i::text, i % 100 = 0 from generate_series(1, 3000) i;
    select embedder.create_pipeline('numbers', 'body', index => 'none', name => 'numbers'${column ? `, target_column => 'e'` : ''})`);
  await database.query(
    column
      ? 'update numbers set e = at_angle(id * 360 / 3000.0)'
      : `insert into numbers_embedding (id, embedding, model) select id, at_angle(id * 360 / 3000.0), 'm' from numbers`,
  );
  await database.query(
    `create index vectors_index on ${column ? 'numbers' : 'numbers_embedding'} using ${index}; analyze numbers`,
  );
  if (!column) await database.query('analyze numbers_embedding');
}

/** An hnsw index may miss some that are nearer, but what it gives stands in order. */
function expectOrder(found: readonly Found[]): void {
  const similarities = found.map(({ similarity }) => similarity);
  expect(similarities).toEqual(similarities.toSorted((a, b) => b - a));
}

/** The plan of the statement behind a search. */
async function planOf(on: Session, args: string): Promise<string> {
  const { rows: statements } = await on.query(
    `select embedder.search_statement('numbers', ${args}) as statement`,
  );
  await on.query(`prepare found(vector) as ${(statements[0] as { statement: string }).statement}`);
  const { rows } = await on.query('explain (costs off) execute found(at_angle(0))');
  await on.query('deallocate found');
  return rows.map((row) => (row as { 'QUERY PLAN': string })['QUERY PLAN']).join('\n');
}

describe('the index', () => {
  it.each([
    ['hnsw, a sidecar', 'hnsw (embedding vector_cosine_ops)', false],
    ['hnsw, a column', 'hnsw (e vector_cosine_ops)', true],
    ['ivfflat, a sidecar', 'ivfflat (embedding vector_cosine_ops) with (lists = 30)', false],
  ])('is used: %s', async (_, index, column) => {
    await fillCircle(index, column);
    await inTransaction(async (client) => {
      expect(await planOf(client, '10')).toMatch(/Limit\n\s+-> {2}Index Scan using vectors_index/);
      const found = await search(', 9', client, 'numbers');
      expect(found).toHaveLength(9);
      expectOrder(found);
      // More than an index scan gives by itself.
      expect(await keys(', 1500', client, 'numbers')).toHaveLength(1500);
    });
  });

  it.each([
    ['hnsw', 'hnsw (embedding vector_cosine_ops)'],
    ['ivfflat', 'ivfflat (embedding vector_cosine_ops) with (lists = 30)'],
  ])('is scanned on until k rows have passed the filter: %s', async (_, index) => {
    await fillCircle(index);
    await inTransaction(async (client) => {
      // So few rows are sorted faster than they are found by the index; a larger table has the index by itself.
      await client.query('set local enable_sort = off; set local enable_seqscan = off');
      expect(await planOf(client, `10, 'rare'`)).toMatch(/Index Scan using vectors_index/);
      const found = await search(`, 9, 'rare'`, client, 'numbers');
      expect(found.filter(({ row_key }) => Number(row_key) % 100 === 0)).toHaveLength(9);
      expectOrder(found);
      const { rows } = await client.query<{ statement: string }>(
        `select embedder.search_statement('numbers', 9, 'rare') as statement`,
      );
      await client.query(`prepare plain(vector) as ${rows[0]!.statement}`);
      expect((await client.query('execute plain(at_angle(0))')).rows.length).toBeLessThan(9);
      await client.query('deallocate plain');
    });
  });

  it("leaves the caller's settings as they were, and is content with higher ones", async () => {
    await fillCircle('hnsw (embedding vector_cosine_ops)');
    const settings = async (client: Session) =>
      (
        await client.query(
          `select current_setting('hnsw.ef_search') as ef, current_setting('hnsw.iterative_scan') as scan,
             current_setting('ivfflat.probes') as probes, current_setting('search_path') as path`,
        )
      ).rows[0];
    await inTransaction(async (client) => {
      const before = await settings(client);
      await search(', 100', client, 'numbers');
      expect(await settings(client)).toEqual(before);
      await client.query(`savepoint s`);
      await expect(search(`, 100, 'none'`, client, 'numbers')).rejects.toThrow();
      await client.query(`rollback to s`);
      expect(await settings(client)).toEqual(before);
      await client.query(`set local hnsw.ef_search = 300; set local hnsw.iterative_scan = strict_order`);
      const { rows } = await client.query(
        `select embedder.search_settings(p, 100) as settings from embedder.pipeline p`,
      );
      expect(rows).toMatchObject([
        { settings: { 'hnsw.ef_search': '300', 'hnsw.iterative_scan': 'strict_order' } },
      ]);
    });
  });
});
