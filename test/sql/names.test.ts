import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMigratedDatabase, drain, type MigratedDatabase } from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  owner = await createRole();
  await database.query(`create schema owned authorization ${owner.name};
    insert into embedder.model (name, task, dimensions) values ('sorter', 'text-classification', null)`);
});
afterAll(async () => {
  await database.drop();
  await owner.drop();
});

async function rowsOf<R extends Record<string, unknown>>(
  text: string,
  parameters: unknown[] = [],
): Promise<R[]> {
  return (await database.query<R>(text, parameters)).rows;
}

const quote = (name: string) => `"${name.replaceAll('"', '""')}"`;

async function made(base: string, suffix: string): Promise<string> {
  const [row] = await rowsOf<{ name: string }>('select embedder.made_name($1, $2) as name', [base, suffix]);
  return row!.name;
}

/** The table that a pipeline writes, and its view, as they are in the catalog. */
async function namesOf(pipeline: string): Promise<{ target: string; view: string | null }> {
  const [row] = await rowsOf<{ target: string; view: string | null }>(
    `select (select relname from pg_class where oid = p.target_table) as target,
      (select relname from pg_class where oid = embedder.view_of(p)) as view
     from embedder.pipeline p where name = $1 and live`,
    [pipeline],
  );
  return row!;
}

async function notices(work: string): Promise<string[]> {
  const client = await database.pool.connect();
  const heard: string[] = [];
  const listen = (notice: { message?: string }) => void heard.push(notice.message ?? '');
  client.on('notice', listen);
  try {
    await client.query(work);
  } finally {
    client.off('notice', listen);
    client.release();
  }
  return heard;
}

/** Names of tables as people have them; PostgreSQL takes each of them whole. */
const NAMES = [
  `${'shared_letters_'.repeat(4)}a`,
  `${'shared_letters_'.repeat(4)}b`,
  '文'.repeat(20),
  `${'文'.repeat(20)}字`,
  'ж'.repeat(31),
  `${'ж'.repeat(30)}щ`,
  '🦉'.repeat(15),
  'with "quotes" and \'single\' ones',
  'with.dots.in it',
  '100 % of %s and %I and %1$s',
  'back\\slash \\n',
  'Upper Case',
  'doc_embedding_2',
  '$body$ {brace}',
];

describe('a name that is made', () => {
  it('is base and suffix where PostgreSQL takes them whole', async () => {
    expect(await made('doc', '_embedding')).toBe('doc_embedding');
    expect(await made('n'.repeat(53), '_embedding')).toBe(`${'n'.repeat(53)}_embedding`);
  });

  it('is never longer than 63 bytes, ends in its suffix, and differs where the bases differ', async () => {
    const suffixes = ['_embedding', '_with_embedding', '_2', '_100', '_score'];
    const found = new Set<string>();
    for (const name of NAMES)
      for (const suffix of suffixes) {
        const one = await made(name, suffix);
        expect(Buffer.byteLength(one), one).toBeLessThanOrEqual(63);
        expect(one.endsWith(suffix), one).toBe(true);
        expect(one).not.toContain('\ufffd');
        found.add(one);
      }
    expect(found.size).toBe(NAMES.length * suffixes.length);
  });
});

describe('pipelines on tables of any name', () => {
  beforeAll(async () => {
    for (const [number, name] of NAMES.entries()) {
      await database.query(`create table ${quote(name)} (id int primary key, body text);
        insert into ${quote(name)} values (1, 'row of table ${number}')`);
      await database.query(`select embedder.create_pipeline($1::regclass, 'body', index => 'none')`, [
        quote(name),
      ]);
    }
    await drain(database);
  });

  it.each(NAMES)('%j has a sidecar and a view of its own, which show its own rows', async (name) => {
    const { target, view } = await namesOf(name);
    expect(target).toBe(await made(name, '_embedding'));
    expect(view).toBe(await made(name, '_with_embedding'));
    const number = NAMES.indexOf(name);
    expect(await rowsOf(`select id, body, embedding is not null as filled from ${quote(view!)}`)).toEqual([
      { id: 1, body: `row of table ${number}`, filled: true },
    ]);
    expect(await rowsOf(`select state, error from embedder.status where pipeline = $1`, [name])).toEqual([
      { state: 'live', error: null },
    ]);
  });

  it.each(NAMES)('%j gets the next generation, and the one after it', async (name) => {
    for (const input of ['{body}!', '{body}!!']) {
      await database.query('select embedder.alter_pipeline($1, input => $2)', [name, input]);
      await drain(database);
      await database.query('select embedder.cutover($1)', [name]);
    }
    const { target, view } = await namesOf(name);
    expect(target).toBe(await made(name, '_embedding'));
    expect(view).toBe(await made(name, '_with_embedding'));
    expect(await rowsOf(`select id, embedding is not null as filled from ${quote(view!)}`)).toEqual([
      { id: 1, filled: true },
    ]);
  });

  it('keeps old targets under names of their own up to the hundredth generation', async () => {
    const name = '文'.repeat(20);
    for (const generation of [9, 10, 99, 100]) {
      await database.query('update embedder.pipeline set generation = $1 where name = $2', [
        generation,
        name,
      ]);
      await database.query('select embedder.alter_pipeline($1, input => $2, drop_old => false)', [
        name,
        `{body} ${generation}`,
      ]);
      await drain(database);
      await database.query('select embedder.cutover($1)', [name]);
    }
    const base = await made(name, '_embedding');
    expect((await namesOf(name)).target).toBe(base);
    for (const generation of [9, 10, 99, 100])
      expect(
        await rowsOf('select count(*)::int as n from pg_class where relname = $1', [
          await made(base, `_${generation}`),
        ]),
      ).toEqual([{ n: 1 }]);
  });

  it('works in a schema, with key columns and types of such names', async () => {
    const [schema, table, column, type] = ['Ж.ж "%s"', 'Таблица 100%', 'ключ "a.b" \\ %I', 'тип "x" %'];
    await database.query(`create schema ${quote(schema)};
      create domain ${quote(schema)}.${quote(type)} as int;
      create table ${quote(schema)}.${quote(table)} (${quote(column)} ${quote(schema)}.${quote(type)}, ${quote(`${column}2`)} uuid default gen_random_uuid(), ${quote('{text} %s')} text, primary key (${quote(column)}, ${quote(`${column}2`)}));
      insert into ${quote(schema)}.${quote(table)} values (1, default, 'one'), (2, default, 'two')`);
    await database.query(
      `select embedder.create_pipeline($1::regclass, '{text} %s', name => 'odd', index => 'none')`,
      [`${quote(schema)}.${quote(table)}`],
    );
    await drain(database);
    await database.query(
      `delete from ${quote(schema)}.${quote(table)} where ${quote(column)} = 1;
       update ${quote(schema)}.${quote(table)} set ${quote('{text} %s')} = 'three'`,
    );
    await drain(database);
    expect(await rowsOf(`select ${quote(column)} as key from ${quote(schema)}."odd_with_embedding"`)).toEqual(
      [{ key: 2 }],
    );
    expect(
      await rowsOf(`select state, error, coverage::float from embedder.status where pipeline = 'odd'`),
    ).toEqual([{ state: 'live', error: null, coverage: 1 }]);
  });
});

describe('columns of a target', () => {
  it('have whole names where the column asked for leaves no room', async () => {
    const column = 'ярлык'.repeat(6);
    await database.query(
      `create table note (id int primary key, body text); insert into note values (1, 'good text')`,
    );
    await database.query(
      `select embedder.create_pipeline('note', 'body', model => 'sorter', task => 'text-classification', target_column => $1)`,
      [column],
    );
    await database.query(`select embedder.pause_pipeline('note')`);
    const columns = await rowsOf<{ name: string }>(
      `select attname as name from pg_attribute where attrelid = 'note'::regclass and attnum > 2 order by attnum`,
    );
    expect(columns.map(({ name }) => name)).toEqual([
      column,
      await made(column, '_score'),
      await made(column, '_detail'),
      await made(`source_hash_of_${column}`, ''),
    ]);
  });

  it.each([
    [`target_column => '${'c'.repeat(64)}'`, /^the name of a column has 1 to 63 bytes/],
    [`target_table => '${'文'.repeat(22)}'`, /^the name of a table has 1 to 63 bytes/],
    [`name => '${'文'.repeat(22)}'`, /^the name of a pipeline has 1 to 63 bytes/],
    [`name => ''`, /^the name of a pipeline has 1 to 63 bytes/],
  ])('are refused where they are longer than PostgreSQL takes: %s', async (argument, message) => {
    await database.query(`create table if not exists short (id int primary key, body text)`);
    await expect(
      database.query(`select embedder.create_pipeline('short', 'body', ${argument})`),
    ).rejects.toThrow(message);
  });

  it('stand in the view beside columns of the source that bear their names', async () => {
    await database.query(`create table crowded (id int primary key, body text, embedding text, target_embedding text, model text);
      insert into crowded values (1, 'text', 'a', 'b', 'c');
      select embedder.create_pipeline('crowded', 'body', index => 'none')`);
    await drain(database);
    expect(
      await rowsOf(
        'select embedding, target_embedding, model, target_model, target_target_embedding is not null as filled from crowded_with_embedding',
      ),
    ).toEqual([
      { embedding: 'a', target_embedding: 'b', model: 'c', target_model: 'all-MiniLM-L6-v2', filled: true },
    ]);
  });
});

describe('what a stranger has made', () => {
  it('is never taken for the view of a pipeline, and that there is none is said', async () => {
    await database.query(`create table tome (id int primary key, body text);
      create view tome_with_embedding as select 1 as one;
      comment on view tome_with_embedding is 'Made by pgembedder: the rows of tome'`);
    expect(await notices(`select embedder.create_pipeline('tome', 'body')`)).toEqual([
      'pipeline "tome" has no view public.tome_with_embedding: public.tome_with_embedding is there already, and was not made for it',
    ]);
    expect(await rowsOf('select * from tome_with_embedding')).toEqual([{ one: 1 }]);
    await database.query(`select embedder.drop_pipeline('tome')`);
    expect(await rowsOf('select * from tome_with_embedding')).toEqual([{ one: 1 }]);
  });

  it('on the function of a pipeline, by its owner or by another role, is not the view of the pipeline', async () => {
    await database.query(`create table owned.page (id int primary key, body text);
      alter table owned.page owner to ${owner.name};
      select embedder.create_pipeline('owned.page', 'body', index => 'none')`);
    const [{ f }] = (await rowsOf<{ f: string }>(
      `select d.refobjid::regprocedure::text as f from embedder.pipeline p, pg_rewrite r, pg_depend d
       where p.name = 'page' and r.ev_class = embedder.view_of(p) and d.objid = r.oid and d.refclassid = 'pg_proc'::regclass`,
    )) as [{ f: string }];
    await database.query(`drop view owned.page_with_embedding;
      create view owned.mine as select id from ${f}; alter view owned.mine owner to ${owner.name};
      create view owned.theirs as select * from ${f};
      comment on view owned.theirs is 'Made by pgembedder: look'`);
    await database.query(`select embedder.resume_pipeline('page')`);
    expect(await namesOf('page')).toEqual({ target: 'page_embedding', view: 'page_with_embedding' });
    expect(
      await rowsOf(`select attname from pg_attribute where attrelid = 'owned.mine'::regclass and attnum > 0`),
    ).toEqual([{ attname: 'id' }]);
  });

  it('keeps a view that its owner has renamed or described anew', async () => {
    await database.query(`create table book (id int primary key, body text);
      select embedder.create_pipeline('book', 'body', index => 'none');
      comment on view book_with_embedding is 'For the search page';
      alter table book add column pages int; select embedder.resume_pipeline('book')`);
    expect((await namesOf('book')).view).toBe('book_with_embedding');
    expect(
      await rowsOf(
        `select 1 as one from pg_attribute where attrelid = 'book_with_embedding'::regclass and attname = 'pages'`,
      ),
    ).toEqual([{ one: 1 }]);
    await database.query(
      `alter view book_with_embedding rename to library; alter table book add column year int; select embedder.resume_pipeline('book')`,
    );
    expect((await namesOf('book')).view).toBe('library');
  });
});
