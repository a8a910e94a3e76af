import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  fakeVector,
  type MigratedDatabase,
  readVectors,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { createRole } from '../../support/postgres.ts';
import { startServer } from '../../support/server.ts';

let database: MigratedDatabase;
let server: number;

beforeAll(async () => {
  database = await createMigratedDatabase();
  server = Number((await database.query('show server_version_num')).rows[0]!.server_version_num);
});
afterAll(() => database.drop());
afterEach(() =>
  database.query(`select embedder.drop_pipeline(name) from embedder.pipeline where live;
    drop schema public cascade; create schema public; create extension if not exists vector`),
);

/** Drains, and gives back the texts that were embedded. */
async function work(on: MigratedDatabase = database): Promise<string[]> {
  const embedder = new FakeEmbedder();
  expect((await drain(on, { embedder })).failing).toEqual([]);
  return embedder.calls.flat().sort();
}

async function allRight(results = 'select id, embedding from doc_embedding', body = 'body', on = database) {
  const { rows } = await on.query<{ id: string; body: string }>(`select id::text, ${body} as body from doc`);
  const wanted = new Map(rows.map(({ id, body: text }) => [id, fakeVector(text)]));
  expect(wrongKeys(await readVectors(on, results), wanted)).toEqual([]);
  const { rows: counts } = await on.query(
    'select source_rows::int, embedded_rows::int, state from embedder.status',
  );
  expect(counts).toEqual([{ source_rows: rows.length, embedded_rows: rows.length, state: 'live' }]);
}

const filled = (table: string) =>
  `${table}; insert into doc select i, 'text ' || i from generate_series(1, 4) i`;
const pipeline = (rest = '') => `select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`;

describe('what happens to a table behind the triggers’ back is found by the next worker', () => {
  const disabled = (statements: string) =>
    `alter table doc disable trigger all; ${statements}; alter table doc enable trigger all`;

  it.each<[string, string, embedded: string[]]>([
    [
      'rows written while its triggers were disabled, as by pg_restore --disable-triggers',
      disabled(
        `update doc set body = 'new' where id = 1; delete from doc where id = 2; insert into doc values (9, 'more')`,
      ),
      ['more', 'new'],
    ],
    [
      'truncate and a load with triggers disabled',
      disabled(`truncate doc; insert into doc values (1, 'text 1'), (3, 'x')`),
      ['x'],
    ],
    [
      'truncate under session_replication_role = replica',
      `begin; set local session_replication_role = replica; truncate doc; insert into doc values (2, 'y'); set local session_replication_role = origin; commit`,
      ['y'],
    ],
    [
      'alter column type using another value',
      `alter table doc alter column body type text using case id when 1 then 'other' else body end`,
      ['other'],
    ],
    ['set unlogged and back', `alter table doc set unlogged; alter table doc set logged`, []],
    ['vacuum full', `vacuum full doc`, []],
    [
      'a sidecar that was emptied and filled from elsewhere',
      `create table copy as select * from doc_embedding; truncate doc_embedding; insert into doc_embedding select * from copy where id < 3`,
      ['text 3', 'text 4'],
    ],
    [
      'a trigger that somebody has dropped',
      `drop trigger TRIGGER on doc; update doc set body = 'new' where id = 1`,
      ['new'],
    ],
  ])('%s', async (_, statements, embedded) => {
    await database.query(filled('create table doc (id int primary key, body text)'));
    await database.query(pipeline());
    await work();
    const { rows } = await database.query(
      `select tgname from pg_trigger where tgrelid = 'doc'::regclass and tgname ~ 'changed'`,
    );
    for (const statement of statements.replace('TRIGGER', rows[0]?.tgname).split(/;(?![^$]*\$\$)/))
      if (!statements.startsWith('begin')) await database.query(statement);
    if (statements.startsWith('begin')) await database.query(statements);
    expect(await work()).toEqual(embedded);
    await allRight();
    expect(await work()).toEqual([]);
  });

  it('rows loaded into a partition while it was detached for a moment', async () => {
    // Before 14.19, 15.14, 16.10 and 17.6 no table with our triggers becomes a partition: a worker has to take them off first.
    const minor = server % 10_000;
    if (minor < ({ 14: 19, 15: 14, 16: 10, 17: 6 }[Math.floor(server / 10_000)] ?? 0)) return;
    await database.query(`create table doc (id int primary key, body text) partition by range (id);
      create table low partition of doc for values from (0) to (100); create table high partition of doc for values from (100) to (200);
      insert into doc values (1, 'text 1'), (101, 'text 101'), (103, 'text 103'); ${pipeline()}`);
    await work();
    await database.query(`alter table doc detach partition high; insert into high values (102, 'loaded');
      update high set body = 'changed' where id = 101; delete from high where id = 103;
      alter table doc attach partition high for values from (100) to (200)`);
    expect(await work()).toEqual(['changed', 'loaded']);
    await allRight();
  });

  it('a partition that another one of the same name has replaced', async () => {
    await database.query(`create table doc (id int primary key, body text) partition by range (id);
      create table low partition of doc for values from (0) to (100); create table high partition of doc for values from (100) to (200);
      insert into doc values (1, 'text 1'), (101, 'text 101'); ${pipeline()}`);
    await work();
    await database.query(`drop table high; create table high partition of doc for values from (100) to (200);
      insert into high values (102, 'before it has triggers')`);
    expect(await work()).toEqual(['before it has triggers']);
    await database.query(`insert into high values (103, 'after')`);
    expect(await work()).toEqual(['after']);
    await allRight();
  });

  it('a partition that comes empty has nothing looked at', async () => {
    await database.query(`create table doc (id int primary key, body text) partition by range (id);
      create table low partition of doc for values from (0) to (100); insert into doc values (1, 'text 1'); ${pipeline()}`);
    await work();
    const backfills = async () =>
      (await database.query('select last_value from embedder.backfill_run_id_seq')).rows[0]!.last_value;
    const before = await backfills();
    await database.query('create table high partition of doc for values from (100) to (200)');
    await work();
    expect(await backfills()).toBe(before);
    await database.query(`insert into high values (101, 'text 101')`);
    expect(await work()).toEqual(['text 101']);
    await allRight();
    await database.query(`create table loose (like doc including all); insert into loose values (201, 'brought');
      alter table doc attach partition loose for values from (200) to (300)`);
    expect(await work()).toEqual(['brought']);
    expect(await backfills()).not.toBe(before);
    await allRight();
  });

  it('a generated column that is computed by another expression', async () => {
    // "set expression" is new in 17.
    if (server < 170_000) return;
    await database.query(`create table doc (id int primary key, raw text, body text generated always as (raw || '!') stored);
      insert into doc values (1, 'a'), (2, 'b'); ${pipeline()}`);
    await work();
    await database.query(
      `alter table doc alter column body set expression as (raw || case id when 1 then '?' else '!' end)`,
    );
    expect(await work()).toEqual(['a?']);
    await allRight();
  });

  it('is not found where nothing has happened: analyze, vacuum, an index, a grant, rows, another pipeline', async () => {
    await database.query(filled('create table doc (id int primary key, body text, n int)'));
    await database.query(pipeline());
    await work();
    const marks = async () =>
      (
        await database.query(
          `select embedder.marks_of(p) as now, p.marks as noted from embedder.pipeline p where p.name = 'doc'`,
        )
      ).rows[0]!;
    const before = await marks();
    expect(before.now).toEqual(before.noted);
    for (const statement of [
      'vacuum freeze analyze doc',
      'vacuum freeze analyze doc_embedding',
      'create index on doc (n)',
      'reindex table doc_embedding',
      'grant select on doc to public',
      'update doc set n = 1',
      `comment on table doc is 'x'`,
      'alter table doc alter n set statistics 10',
      `select embedder.create_pipeline('doc', 'body', name => 'second')`,
      'alter table doc add column m int',
      'vacuum full pg_trigger',
      'vacuum full pg_inherits',
      `select embedder.resume_pipeline('doc')`,
    ])
      await database.query(statement);
    expect(await marks()).toEqual(before);
  });
});

it('an unlogged table that a crash has emptied loses its vectors', async () => {
  const own = await startServer();
  try {
    const crashed = await createMigratedDatabase({ serverUrl: own.url });
    await crashed.query(
      `create unlogged table doc (id int primary key, body text); insert into doc values (1, 'text 1'), (2, 'text 2'); ${pipeline()}`,
    );
    await work(crashed);
    await crashed.query(`checkpoint`);
    await own.restart('immediate');
    await crashed.query(`insert into doc values (2, 'text 2')`);
    await work(crashed);
    await allRight(undefined, undefined, crashed);
    await crashed.drop();
  } finally {
    await own.stop();
  }
}, 60_000);

describe('a target column that somebody else sets to NULL', () => {
  it.each([
    ['', ''],
    [' partition by range (id); create table low partition of doc default', ''],
    ['', `, filter => 'id <> 3'`],
  ])('is filled again, and a row without text is not queued for ever (%s%s)', async (partitions, filter) => {
    await database.query(`create table doc (id int primary key, body text)${partitions}; insert into doc values (1, 'text 1'), (2, 'text 2'), (3, null);
      ${pipeline(`, target_column => 'e'${filter}`)}`);
    await work();
    await database.query('update doc set e = null where id = 1');
    expect(await work()).toEqual(['text 1']);
    await database.query(`update doc set body = null where id = 2; update doc set e = null`);
    expect(await work()).toEqual(['text 1']);
    expect(await work()).toEqual([]);
    const { rows } = await database.query('select id from doc where e is not null');
    expect(rows).toEqual([{ id: 1 }]);
    expect(
      (await database.query('select embedded_rows::int, coverage::float8 from embedder.status')).rows,
    ).toEqual([{ embedded_rows: 1, coverage: 1 }]);
  });
});

describe('what can be known beforehand is said', () => {
  const warning = async () => (await database.query('select warning from embedder.status')).rows[0]!.warning;

  it('disabled triggers, on a partition as well', async () => {
    await database.query(`create table doc (id int primary key, body text) partition by range (id);
      create table low partition of doc for values from (0) to (100); ${pipeline()}`);
    expect(await warning()).toBeNull();
    await database.query('alter table low disable trigger user');
    expect(await warning()).toMatch(
      /triggers of pgembedder on public.low are disabled.*alter table public.low enable trigger user/,
    );
    await database.query('alter table low enable trigger user');
    expect(await warning()).toBeNull();
  });

  it('a subscription that writes the table, to a role that is nobody special', async () => {
    const role = await createRole();
    await database.query(filled('create table doc (id int primary key, body text)'));
    await database.query(`${pipeline()}; alter table doc owner to ${role.name};
      create subscription copy connection 'host=127.0.0.1 port=1' publication p with (connect = false);
      insert into pg_subscription_rel (srsubid, srrelid, srsubstate) select oid, 'doc'::regclass, 'r' from pg_subscription`);
    const client = await database.pool.connect();
    try {
      await client.query(`set role ${role.name}`);
      const { rows } = await client.query('select warning from embedder.status');
      expect(rows[0]!.warning).toMatch(/logical replication writes public.doc.*stale => true/);
    } finally {
      await client.query('reset role');
      client.release();
    }
    await database.query(`alter subscription copy disable; alter subscription copy set (slot_name = none)`);
    await database.query(`drop subscription copy`);
    await database.query(`drop table doc cascade; delete from embedder.pipeline; drop owned by ${role.name}`);
    await role.drop();
  });
});
