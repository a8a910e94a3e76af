import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wrongCounts } from '../support/counts.ts';
import { createMigratedDatabase, drain, type MigratedDatabase } from '../support/pgembedder.ts';
import { startServer, type TestServer } from '../support/postgres.ts';

let database: MigratedDatabase;
beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

describe('a publication of all tables', () => {
  it('keeps neither truncate nor drop_pipeline nor the counts from working', async () => {
    await database.query(`create table doc (id int primary key, body text); insert into doc values (1, 'a');
      select embedder.create_pipeline('doc', 'body', index => 'none'); create publication all_of_it for all tables`);
    await drain(database);
    await database.query(
      `update embedder.tally set at = now() - interval '1 hour'; select embedder.fold_tally()`,
    );
    await database.query('truncate doc');
    expect(await wrongCounts(database)).toEqual([]);
    expect((await database.query('select error from embedder.status')).rows).toEqual([{ error: null }]);
    await database.query(`select embedder.drop_pipeline('doc', drop_target => true)`);
  });
});

describe('a table with a foreign child', () => {
  beforeAll(async () => {
    const { hostname, port, username, password } = new URL(database.url);
    await database.query(`create extension postgres_fdw; create extension file_fdw; create server files foreign data wrapper file_fdw;
      create server elsewhere foreign data wrapper postgres_fdw options (host '${hostname}', port '${port}', dbname '${database.name}');
      create user mapping for current_user server elsewhere options (user '${username}', password '${password}')`);
  });
  const statusOf = async (pipeline: string) =>
    (
      await database.query(
        `select state, error, source_rows::int as rows, embedded_rows::int as vectors from embedder.status where pipeline = '${pipeline}'`,
      )
    ).rows[0];

  it('is refused', async () => {
    await database.query(`create table part (id int primary key, body text);
      create foreign table refused (id int not null, body text) inherits (part) server files options (filename '/dev/null')`);
    await expect(database.query(`select embedder.create_pipeline('part', 'body')`)).rejects.toMatchObject({
      code: '42809',
      message: 'table public.part has a foreign table below it, public.refused, whose rows no trigger sees',
      hint: 'Detach it, or make the pipeline on a table without foreign partitions or children.',
    });
  });

  it('cannot be a partition, since its source has a key', async () => {
    await database.query('create table parted (id int primary key, body text) partition by range (id)');
    await expect(
      database.query(
        `create foreign table apart partition of parted for values from (1) to (9) server files options (filename '/dev/null')`,
      ),
    ).rejects.toThrow('cannot create foreign partition of partitioned table "parted"');
  });

  it.each([
    ['a sidecar', ''],
    ['a column and a filter', `, target_column => 'e', filter => 'id < 1000'`],
  ])(
    'that comes later stops the pipeline, with %s, and no statement; and when it goes nothing is lost',
    async (_, rest) => {
      await database.query(`create table src (id int primary key, body text); insert into src select i, 'text ' || i from generate_series(1, 5) i;
      select embedder.create_pipeline('src', 'body', index => 'none'${rest})`);
      await drain(database);
      await database.query(`create table there (id int primary key, body text); insert into there values (100, 'there'), (101, 'too');
      create foreign table far (id int not null, body text) server elsewhere options (table_name 'there'); ${rest && 'alter table far add column e vector(384), add column source_hash_of_e uuid; alter table there add column e vector(384), add column source_hash_of_e uuid;'}
      alter foreign table far inherit src`);
      const error = expect.stringMatching(
        /^(public\.)?src has a foreign table below it, (public\.)?far, whose rows no trigger sees. Detach that, such as by: alter foreign table (public\.)?far no inherit (public\.)?src$/,
      );
      expect((await drain(database)).failing).toEqual([{ pipeline: 'src', error }]);
      expect(await statusOf('src')).toEqual({ state: 'error', error, rows: 5, vectors: 5 });
      await expect(database.query(`select embedder.resume_pipeline('src')`)).rejects.toThrow(
        'foreign table below',
      );
      await database.query(`insert into src values (6, 'text 6'); update src set body = 'new' where id in (1, 100); delete from src where id in (2, 101);
      update src set id = 7 where id = 3`);
      expect((await database.query('select row_key from embedder.job order by 1')).rows).toEqual(
        ['1', '6', '7'].map((row_key) => ({ row_key })),
      );
      await database.query('delete from src where id in (7, 100)');
      await database.query('alter foreign table far no inherit src');
      expect(await drain(database)).toMatchObject({ failing: [], embedded: 2 });
      expect(await statusOf('src')).toEqual({ state: 'live', error: null, rows: 4, vectors: 4 });
      expect(await wrongCounts(database)).toEqual([]);
      const { rows } = await database.query(
        `select tgname from pg_trigger where tgrelid = 'src'::regclass and tgoldtable = 'old_rows'`,
      );
      expect(rows).toEqual([{ tgname: expect.stringMatching(/_deleted$/) }]);
      await database.query(
        `select embedder.drop_pipeline('src', true); drop table src, there; drop foreign table far`,
      );
    },
  );
});

describe('a server with prepared transactions', () => {
  let server: TestServer;
  let other: MigratedDatabase;
  beforeAll(async () => {
    server = await startServer({ settings: { max_prepared_transactions: '2' } });
    other = await createMigratedDatabase({ serverUrl: server.url });
  });
  afterAll(async () => {
    await other.drop();
    await server.stop();
  });

  it('lets a writer prepare its transaction while a worker sleeps', async () => {
    await other.query(`create table doc (id int primary key, body text); select embedder.create_pipeline('doc', 'body', index => 'none');
      insert into doc values (1, 'a');
      insert into embedder.worker_process (hostname, pid, version, listening, idle, beat_at) values ('h', 1, '0', true, true, now() + interval '1 day'); select setval('embedder.asleep', 1)`);
    const client = await other.pool.connect();
    try {
      await client.query(
        `begin; insert into doc values (2, 'b'); update doc set body = 'n' where id = 1; delete from doc where id = 1`,
      );
      await client.query(`prepare transaction 'x'`);
      await client.query(`commit prepared 'x'`);
    } finally {
      client.release();
    }
    expect((await other.query('select row_key from embedder.job')).rows).toEqual([{ row_key: '2' }]);
  });
});
