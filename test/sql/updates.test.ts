import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wrongCounts } from '../support/counts.ts';
import {
  createMigratedDatabase,
  drain,
  jobCount,
  type MigratedDatabase,
  queued,
} from '../support/pgembedder.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

async function create(table: string, rest = ''): Promise<void> {
  await database.query(`delete from embedder.pipeline; drop table if exists doc_embedding, doc;
    ${table}; insert into doc (id, body) select i, 'text ' || i from generate_series(1, 3) i;
    select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
  await drain(database);
}
const plain = 'create table doc (id int primary key, body text, n int not null default 0)';
const targets = [
  ['a sidecar', ''],
  ['a column', `, target_column => 'e'`],
] as const;

describe('an update', () => {
  it('of another column needs no temporary files, however many rows it has', async () => {
    await create(plain);
    await database.query(
      `insert into doc select i, repeat('x', 100) from generate_series(10, 5000) i; delete from embedder.job`,
    );
    const client = await database.pool.connect();
    try {
      await client.query(`set work_mem = '64kB'; set temp_file_limit = 1`);
      await client.query(`update doc set n = n + 1`);
    } finally {
      client.release(true);
    }
    expect(await queued(database, 'doc')).toEqual([]);
  });

  it('is seen where a trigger of the user’s changes the text, also one that came later', async () => {
    await create(plain);
    await database.query(`create or replace function stamp() returns trigger language plpgsql as $$ begin new.body := new.body || '!'; return new; end $$;
      create trigger stamp before update on doc for each row execute function stamp()`);
    await drain(database);
    await database.query(`update doc set n = 5 where id = 2`);
    expect(await queued(database, 'doc')).toEqual(['2']);
  });

  it('of what a generated column is made of is seen', async () => {
    await create(
      `create table doc (id int primary key, body text, whole text generated always as (body || '.') stored)`,
    );
    await database.query(`select embedder.create_pipeline('doc', 'whole', name => 'whole', index => 'none')`);
    await drain(database);
    await database.query(`update doc set body = 'n' where id = 3`);
    expect(await queued(database, 'whole')).toEqual(['3']);
  });

  it.each(targets)('into, within and out of the filter leaves all counts right, with %s', async (_, rest) => {
    await create(plain, `${rest}, filter => 'n < 5'`);
    const after = async (statement: string, keys: string[]) => {
      await database.query(statement);
      expect(await queued(database, 'doc'), statement).toEqual(keys);
      expect(await wrongCounts(database), statement).toEqual([]);
      await drain(database);
      expect(await wrongCounts(database), statement).toEqual([]);
      expect(await jobCount(database)).toBe(0);
    };
    await after('update doc set n = 1', []);
    await after(`update doc set body = 'n' where id = 1`, ['1']);
    await after('update doc set n = 7 where id > 1', rest ? ['2', '3'] : []);
    await after(`update doc set body = 'unseen' where id > 1`, []);
    await after('update doc set n = 0 where id = 2', ['2']);
    await after('update doc set id = 9 where id = 2', ['9']);
    await after('update doc set id = 8, n = 6 where id = 9', rest ? ['8'] : []);
  });

  it('of the target column by somebody else is counted', async () => {
    await create(plain, `, target_column => 'e'`);
    expect(await wrongCounts(database)).toEqual([]);
    await database.query(
      `update doc set e = null where id < 3; update doc set e = (select e from doc where id = 3) where id = 1`,
    );
    expect(await wrongCounts(database)).toEqual([]);
  });

  it.each([
    ['a table', plain],
    [
      'a partitioned table',
      `${plain} partition by range (id); create table low partition of doc for values from (0) to (100)`,
    ],
  ])('that writes the vector of an earlier text back is seen, in %s', async (_, table) => {
    await create(table, `, target_column => 'e', filter => 'n < 5'`);
    await drain(database);
    await database.query(
      `create table before as select id, e, source_hash_of_e as hash from doc; update doc set body = 'new ' || id where id < 3`,
    );
    await drain(database);
    const right = (await database.query('select id, e::text from doc order by id')).rows;
    // As an application does that has mapped all columns, with the hash or without it.
    await database.query(`update doc set n = 1, e = before.e from before where before.id = doc.id;
      update doc set n = 2, e = before.e, source_hash_of_e = hash from before where before.id = doc.id and doc.id = 2`);
    expect(await queued(database, 'doc')).toEqual(['1', '2']);
    await drain(database);
    expect((await database.query('select id, e::text from doc order by id')).rows).toEqual(right);
    expect(await jobCount(database)).toBe(0);
    expect(await wrongCounts(database)).toEqual([]);
    await database.query('drop table before');
  });

  it.each(targets)('that moves rows to another partition is seen, with %s', async (_, rest) => {
    await create(
      `create table doc (id int primary key, body text) partition by range (id);
       create table low partition of doc for values from (0) to (100); create table high partition of doc for values from (100) to (200)`,
      rest,
    );
    await database.query(`update doc set id = id + 100 where id < 3; update doc set body = 'n' where id = 3`);
    expect(await queued(database, 'doc')).toEqual(['101', '102', '3']);
    await drain(database);
    expect(await wrongCounts(database)).toEqual([]);
  });
});
