import { readdirSync, readFileSync } from 'node:fs';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  type MigratedDatabase,
  readVectors,
  wrongKeys,
} from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

// What a user's session may have set must change neither what a declaration means nor what the triggers see.

let database: MigratedDatabase;
let owner: TestRole;
let client: pg.Client;

beforeAll(async () => {
  database = await createMigratedDatabase();
  owner = await createRole();
  await database.query(`grant create on schema public to ${owner.name}`);
  client = new pg.Client({ connectionString: database.urlAs(owner) });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await database.drop();
  await owner.drop();
});
afterEach(async () => {
  await client.query('reset all');
  await database.query(
    `select embedder.drop_pipeline(name, true) from embedder.pipeline where live; drop table if exists doc cascade`,
  );
});

const target = {
  sidecar: 'select id, embedding from doc_embedding',
  column: 'select id, e from doc where e is not null',
};
async function holds(wanted: Record<string, string>, from = target.sidecar): Promise<void> {
  expect((await drain(database)).failing).toEqual([]);
  const vectors = new Map(Object.entries(wanted).map(([id, text]) => [id, fakeVector(text)]));
  expect(wrongKeys(await readVectors(database, from), vectors)).toEqual([]);
  const { rows } = await database.query(`select embedded_rows::int as vectors, error from embedder.status`);
  expect(rows).toEqual([{ vectors: vectors.size, error: null }]);
}

describe('standard_conforming_strings off', () => {
  it('keeps the filter and the template of a declaration', async () => {
    await client.query(`set standard_conforming_strings = off; set escape_string_warning = off;
      create table doc (id int primary key, body text, lang text);
      insert into doc values (1, 'a', 'en'), (2, 'b', 'de'), (3, ' ', 'en');
      select embedder.create_pipeline('doc', '{body}', filter => 'lang = ''en''', index => 'none')`);
    await holds({ 1: 'a' });
    await client.query(
      `update doc set body = 'c' where id < 3; select embedder.alter_pipeline('doc', filter => 'lang = ''de''')`,
    );
    await holds({ 2: 'c' });
    await client.query(
      `select embedder.alter_pipeline('doc', input => '{lang}: {body}', auto_cutover => true)`,
    );
    await drain(database);
    await holds({ 2: 'de: c' });
  });

  it('and a filter with a backslash have the same meaning as without, in triggers too', async () => {
    await client.query(`create table doc (id int primary key, body text, path text);
      insert into doc values (1, 'one', 'a_b'), (2, 'two', 'axb'), (3, 'three', 'a_b');
      select embedder.create_pipeline('doc', 'body', filter => 'path like ''a\\_b''', index => 'none')`);
    await holds({ 1: 'one', 3: 'three' });
    await client.query(`set standard_conforming_strings = off; set escape_string_warning = off;
      insert into doc values (4, 'four', 'a_b'), (5, 'five', 'axb'); update doc set path = 'a_b' where id = 2; update doc set path = 'axb' where id = 1;
      delete from doc where id = 3; select embedder.alter_pipeline('doc', priority => 3)`);
    await holds({ 2: 'two', 4: 'four' });
  });

  it('finds a vector that was taken away, of a partitioned table', async () => {
    await client.query(`create table doc (id int primary key, body text) partition by range (id); create table low partition of doc for values from (0) to (9);
      insert into doc values (1, 'one'), (2, 'two');
      select embedder.create_pipeline('doc', 'body', target_column => 'e', index => 'none')`);
    await holds({ 1: 'one', 2: 'two' }, target.column);
    await client.query(`set standard_conforming_strings = off; update doc set e = null where id = 1`);
    await holds({ 1: 'one', 2: 'two' }, target.column);
  });

  it('meets no plain literal with a backslash in sql/', () => {
    const folder = new URL('../../sql/', import.meta.url);
    const found = readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .filter((name) => name.endsWith('.sql'))
      .flatMap((name) => {
        const text = readFileSync(new URL(name, folder), 'utf8');
        const pieces = /--.*|"[^"]*"|\be'(?:\\[\s\S]|''|[^'\\])*'|'(?:''|[^'])*'/gi;
        return [...text.matchAll(pieces)]
          .filter(([piece]) => /^'.*\\/s.test(piece))
          .map(([piece]) => `${name}: ${piece}`);
      });
    expect(found).toEqual([]);
  });
});

it('quote_all_identifiers on: declares, changes and follows as without', async () => {
  await client.query(`set quote_all_identifiers = on; create table doc (id int primary key, body text, lang text);
    insert into doc values (1, 'a', 'en'), (2, 'b', 'de');
    select embedder.create_pipeline('doc', 'body', filter => 'lang > ''''', index => 'none')`);
  await holds({ 1: 'a', 2: 'b' });
  await client.query(`update doc set body = 'c' where id = 1; select embedder.backfill('doc', stale => true);
    select embedder.alter_pipeline('doc', filter => 'lang = ''en'''); select embedder.resume_pipeline('doc'), embedder.recount('doc')`);
  await holds({ 1: 'c' });
  const { rows } = await database.query<{ filter: string }>('select filter from embedder.pipeline');
  expect(rows).toEqual([{ filter: `(lang = 'en'::text)` }]);
  await client.query(`select embedder.alter_pipeline('doc', target_column => 'e', auto_cutover => true)`);
  await drain(database);
  await holds({ 1: 'c' }, target.column);
});

it('migrate’s record is the same whatever a session has set', async () => {
  const session = await database.pool.connect();
  try {
    await session.query(
      'set quote_all_identifiers = on; set intervalstyle = iso_8601; set standard_conforming_strings = off; set datestyle = German; set timezone = "Asia/Kathmandu"',
    );
    expect((await session.query('select embedder.lost_objects()')).rows).toEqual([]);
  } finally {
    session.release(true);
  }
});

it('a date in a filter is read as its writer’s DateStyle has it, and kept for everybody', async () => {
  await client.query(`set datestyle = 'German, DMY'; create table doc (id int primary key, body text, day date);
    insert into doc values (1, 'a', '03.02.2019'), (2, 'b', '05.01.2019');
    select embedder.create_pipeline('doc', 'body', filter => 'day > ''01.02.2019''', index => 'none')`);
  await holds({ 1: 'a' });
  await client.query(
    `reset datestyle; insert into doc values (3, 'c', '2019-01-15'), (4, 'd', '2019-02-15')`,
  );
  await holds({ 1: 'a', 4: 'd' });
});

it.each([
  ['a table', ''],
  ['a partitioned table', 'partition by range (id)'],
])('a float that another one is written as, where floats have few digits, in %s', async (_, rest) => {
  await client.query(`create table doc (id int primary key, x float8, p float4[]) ${rest}`);
  if (rest !== '') await client.query(`create table low partition of doc for values from (0) to (9)`);
  await client.query(
    `insert into doc values (1, 1, '{1}'), (2, 2, '{2}'); select embedder.create_pipeline('doc', '{x} {p}', index => 'none')`,
  );
  await holds({ 1: '1 {1}', 2: '2 {2}' });
  await client.query(
    `set extra_float_digits = -14; update doc set x = 1.25 where id = 1; update doc set p = '{2.0004}' where id = 2`,
  );
  await holds({ 1: '1.25 {1}', 2: '2 {2.0004}' });
});
