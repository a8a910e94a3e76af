import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createMigratedDatabase, drain, FakeEmbedder, type MigratedDatabase } from '../support/pgembedder.ts';
import { createRole } from '../support/postgres.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
afterEach(() =>
  database.query(`select embedder.drop_pipeline(name) from embedder.pipeline where live;
    drop schema public cascade; create schema public; grant usage on schema public to public; create extension if not exists vector;
    delete from embedder.worker_process`),
);

/** Runs statements of which no trigger hears. */
const unseen = (statements: string) =>
  database.query(
    `begin; set local session_replication_role = replica; ${statements}; set local session_replication_role = origin; commit`,
  );
const work = () => drain(database, { embedder: new FakeEmbedder() });

async function faults(name = 'doc'): Promise<string[]> {
  const { rows } = await database.query<{ row_key: string; fault: string }>(
    `select row_key, fault from embedder.verify($1) order by row_key collate "C", fault`,
    [name],
  );
  return rows.map(({ row_key, fault }) => `${row_key} ${fault}`);
}
const counts = async (name = 'doc') =>
  (
    await database.query<Record<string, number>>(
      `select source_rows::int, counted_source_rows::int, embedded_rows::int, counted_embedded_rows::int from embedder.verify_counts($1)`,
      [name],
    )
  ).rows[0];

const TARGETS = [
  ['a sidecar', 'id int primary key, body text, open boolean default true', ''],
  [
    'a column',
    'id int primary key, body text, open boolean default true, embedding vector(384)',
    `, target_column => 'embedding'`,
  ],
  [
    'a sidecar of chunks',
    'id int primary key, body text, open boolean default true',
    `, chunking => '{"strategy": "recursive", "size": 8, "overlap": 0}'`,
  ],
  [
    'a partitioned table',
    'id int primary key, body text, open boolean default true) partition by range (id',
    '',
  ],
] as const;

describe.each(TARGETS)('of %s', (kind, columns, more) => {
  const inSource = more.includes('target_column');

  async function make(filter = ''): Promise<void> {
    await database.query(`create table doc (${columns});
      ${kind === 'a partitioned table' ? 'create table doc_low partition of doc for values from (0) to (6); create table doc_high partition of doc for values from (6) to (100);' : ''}
      insert into doc select n, 'text number ' || n from generate_series(1, 10) n; insert into doc values (11, ''), (12, null);
      select embedder.create_pipeline('doc', 'body', index => 'none'${more}${filter})`);
    await work();
  }

  it('nothing is wrong where nothing is, and while rows wait or have failed', async () => {
    await make();
    expect(await faults()).toEqual([]);
    await database.query(`update doc set body = 'changed' where id = 1; delete from doc where id = 2; insert into doc values (20, 'new');
      update doc set body = '' where id = 3; update doc set id = 40 where id = 4`);
    expect(await faults()).toEqual([]);
    await work();
    expect(await faults()).toEqual([]);
    expect(await counts()).toMatchObject({ source_rows: 12, counted_source_rows: 12 });
    const { embedded_rows, counted_embedded_rows } = (await counts())!;
    expect(embedded_rows).toBe(counted_embedded_rows);
  });

  it('rows that changed unseen are found, and mended by a stale backfill', async () => {
    await make(`, filter => 'open'`);
    await unseen(`update doc set body = 'changed' where id = 1; insert into doc values (20, 'new'), (21, '');
      ${inSource ? '' : 'delete from doc where id = 2;'} update doc set open = false where id = 3`);
    expect(await faults()).toEqual(
      ['1 stale', ...(inSource ? [] : ['2 orphan']), '20 missing', '21 missing', '3 orphan'].sort(),
    );
    await database.query(`select embedder.backfill('doc', stale => true)`);
    // All that is about to be looked at.
    expect(await faults()).toEqual([]);
    await work();
    expect(await faults()).toEqual([]);
  });

  it('a result that somebody has taken away is missing', async () => {
    await make();
    await unseen(
      inSource ? 'update doc set embedding = null where id = 5' : 'delete from doc_embedding where id = 5',
    );
    expect(await faults()).toEqual(['5 missing']);
    // A row that waits for a plain backfill is none.
    await database.query(`select embedder.backfill('doc')`);
    expect(await faults()).toEqual([]);
  });

  it('jobs and dead letters without a row are found', async () => {
    await make();
    await database.query(`insert into embedder.job (pipeline_id, row_key) select id, k from embedder.pipeline, unnest(array['77', '1']) k where name = 'doc';
      insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, k, 1, 'x' from embedder.pipeline, unnest(array['78', '6']) k where name = 'doc'`);
    expect(await faults()).toEqual(['77 orphan_job', '78 orphan_dead_letter']);
  });
});

it('results that are there twice, and chunks that are not there', async () => {
  await database.query(`create table doc (id int primary key, body text);
    insert into doc select n, repeat('some words here. ', 20) from generate_series(1, 5) n;
    select embedder.create_pipeline('doc', 'body', index => 'none', chunking => '{"strategy": "recursive", "size": 8, "overlap": 0}')`);
  await work();
  expect(await faults()).toEqual([]);
  await database.query(`alter table doc_embedding drop constraint doc_embedding_pkey`);
  await unseen(`insert into doc_embedding select * from doc_embedding where id = 2 and chunk = 1;
    delete from doc_embedding where id = 3 and chunk = 1`);
  expect(await faults()).toEqual(['2 doubled', '3 missing']);
});

it('keys of several columns, of any type and name', async () => {
  await database.query(`create table "Über ""x""" ("Day" date, "no" numeric, t timestamptz, body text, primary key ("Day", "no", t));
    insert into "Über ""x""" values ('2026-01-01', 1.50, '2026-01-01 12:00+02', 'a'), ('2026-01-02', 1.5, '2026-01-01 12:00+02', 'b');
    select embedder.create_pipeline('"Über ""x"""', 'body', name => 'odd', index => 'none')`);
  await work();
  expect(await faults('odd')).toEqual([]);
  await unseen(`update "Über ""x""" set body = 'c' where "no" = 1.5 and "Day" = '2026-01-02'`);
  await database.query(`set datestyle = 'SQL, DMY'; set timezone = 'Asia/Tokyo'`);
  const found = await faults('odd');
  expect(found).toHaveLength(1);
  expect(JSON.parse(found[0]!.replace(/ stale$/, ''))).toMatchObject({ Day: '2026-01-02', no: 1.5 });
  await database.query(`select embedder.enqueue_embed('odd', v.row_key) from embedder.verify('odd') v`);
  expect(await faults('odd')).toEqual([]);
});

it('rows that a backfill has yet to walk are not faults, by its ranges', async () => {
  await database.query(`create or replace function embedder.rows_per_range() returns bigint language sql immutable return 3;
    create table doc (id int primary key, body text); insert into doc select n, 'text ' || n from generate_series(1, 10) n;
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
  expect(await faults()).toEqual([]);
  // As after a walk through the ranges up to 6, which has lost the jobs.
  await database.query(`delete from embedder.backfill_range where to_key is not null and to_key::int <= 6`);
  expect(await faults()).toEqual(['1', '2', '3', '4', '5', '6'].map((key) => `${key} missing`));
  await database.query(
    `create or replace function embedder.rows_per_range() returns bigint language sql immutable return 10000`,
  );
});

it('is for the owner of the table and for operators, and says so', async () => {
  const [owner, stranger, reader] = [await createRole(), await createRole(), await createRole()];
  try {
    await database.query(`grant embedder_reader to ${reader.name}; create schema shop authorization ${owner.name};
      set role ${owner.name}; create table shop.doc (id int primary key, body text); insert into shop.doc values (1, 'a');
      alter table shop.doc enable row level security; create policy mine on shop.doc using (current_user = 'nobody');
      select embedder.create_pipeline('shop.doc', 'body', index => 'none'); reset role; grant usage on schema shop to ${stranger.name};
      grant select on shop.doc to ${stranger.name}`);
    await work();
    await unseen(`update shop.doc set body = 'b'`);
    const as = async (role: { name: string; password: string }) => {
      const client = new pg.Client(database.urlAs(role as never));
      await client.connect();
      try {
        return (await client.query(`select * from embedder.verify('doc')`)).rows;
      } finally {
        await client.end();
      }
    };
    expect(await as(owner)).toEqual([{ row_key: '1', fault: 'stale' }]);
    expect(await as(reader)).toEqual([{ row_key: '1', fault: 'stale' }]);
    await expect(as(stranger)).rejects.toMatchObject({
      code: '42501',
      message: `pipeline "doc" is not yours: its table shop.doc belongs to ${owner.name}`,
    });
    // What the owner cannot see is not taken for gone.
    await database.query(`alter table shop.doc force row level security`);
    await expect(as(owner)).rejects.toMatchObject({
      code: '42501',
      message: expect.stringContaining('row level security'),
    });
    await database.query(
      `alter table shop.doc no force row level security; select embedder.drop_pipeline('doc'); drop schema shop cascade`,
    );
  } finally {
    for (const role of [stranger, reader, owner]) {
      await database.query(`drop owned by ${role.name} cascade`);
      await role.drop();
    }
  }
});

it('counts that have drifted are seen', async () => {
  await database.query(`create table doc (id int primary key, body text); insert into doc select n, 'text ' || n from generate_series(1, 10) n;
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
  await work();
  await unseen('delete from doc where id <= 2; delete from doc_embedding where id <= 2');
  expect(await faults()).toEqual([]);
  expect(await counts()).toEqual({
    source_rows: 10,
    counted_source_rows: 8,
    embedded_rows: 10,
    counted_embedded_rows: 8,
  });
  await database.query(`select embedder.recount('doc')`);
  await work();
  expect(await counts()).toEqual({
    source_rows: 8,
    counted_source_rows: 8,
    embedded_rows: 8,
    counted_embedded_rows: 8,
  });
});

it('a name that is none, and a pipeline whose table is gone', async () => {
  await expect(faults('dok')).rejects.toMatchObject({ message: 'there is no pipeline "dok"' });
  await database.query(`create table doc (id int primary key, body text); select embedder.create_pipeline('doc', 'body', index => 'none');
    alter table doc rename to papers`);
  await expect(faults()).rejects.toMatchObject({
    code: '42P01',
    message: 'a table of the pipeline was renamed',
  });
});
