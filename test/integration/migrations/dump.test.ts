import { execFile } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../../src/database/database.ts';
import { migrationState } from '../../../src/database/migrate/applied-files.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { wrongCounts } from '../../support/counts.ts';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  knownModels,
  type MigratedDatabase,
  readVectors,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { createDatabase, createRole, type TestDatabase, type TestRole } from '../../support/postgres.ts';
import { requireServerBinaries } from '../../support/server-binaries.ts';

const run = promisify(execFile);

/** The tables of the database that is dumped, and what each row's text is. */
const TEXTS = `select 'doc ' || id as key, body as text from doc where body is not null
  union all select 'col ' || id, body from col where lang = 'en'
  union all select 'part ' || id, body from part
  union all select 'half ' || id, body from "Half way" where body is not null`;
const VECTORS = `select 'doc ' || id, embedding from doc_embedding union all select 'col ' || id, e from col where e is not null
  union all select 'part ' || id, embedding from part_embedding union all select 'half ' || id, embedding from half_embedding`;

let database: MigratedDatabase;
let restored: TestDatabase;
let kysely: Database;
let owner: TestRole;
let folder: string;

async function wrong(where: TestDatabase): Promise<string[]> {
  const { rows } = await where.query<{ key: string; text: string }>(TEXTS);
  return wrongKeys(
    await readVectors(where, VECTORS),
    new Map(rows.map(({ key, text }) => [key, fakeVector(text)])),
  );
}
const counts = async (where: TestDatabase) =>
  (
    await where.query(`select pipeline, state, source_rows, embedded_rows, stale_rows, pending, leased, failed, index_state, error,
      backfill_rows_estimate > 0 as filling from embedder.status order by 1`)
  ).rows;

beforeAll(async () => {
  database = await createMigratedDatabase();
  owner = await createRole();
  await database.query(`create table doc (id int primary key, body text); create table col (id int primary key, body text, lang text);
    create table part (id int primary key, body text) partition by range (id); create table part_low partition of part for values from (1) to (100);
    create table part_high partition of part for values from (100) to (200); create table "Half way" (id int primary key, body text);
    grant create on schema public to ${owner.name}; alter table doc owner to ${owner.name};
    insert into doc values (1, 'a'), (2, 'b'), (3, null); insert into col values (1, 'c', 'en'), (2, 'd', 'de'), (3, 'e', 'en');
    insert into part values (1, 'low'), (101, 'high');
    select embedder.create_pipeline('doc', 'body'); select embedder.create_pipeline('part', 'body');
    select embedder.create_pipeline('col', 'body', target_column => 'e', filter => $$lang = 'en' and body <> 'it''s'$$, priority => 3)`);
  await drain(database);
  // Then: jobs that wait, one of them of a worker, a dead letter, and a backfill half way.
  await database.query(`insert into "Half way" select i, 'text ' || i from generate_series(1, 2000) i; analyze "Half way";
    select embedder.create_pipeline('"Half way"', 'body', name => 'half', index => 'none')`);
  await database.query(`with dead as (
      insert into embedder.worker_process (hostname, pid, version, beat_at) values ('gone', 1, '1', now() - interval '1 hour') returning id
    ) select embedder.claim_backfill((select id from dead), array[p.id], 700, '1 hour') from embedder.pipeline p where name = 'half'`);
  await database.query(`insert into doc values (4, 'new'); update doc set body = 'changed' where id = 1; delete from doc where id = 2;
    update part set id = 150 where id = 1; insert into part_low values (7, 'leaf'); update col set lang = 'en' where id = 2; update col set lang = 'de' where id = 1;
    insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, '3', 5, 'e' from embedder.pipeline where name = 'doc'`);

  folder = await mkdtemp(join(tmpdir(), 'pgembedder-dump-'));
  restored = await createDatabase();
  const { directory } = await requireServerBinaries();
  const file = join(folder, 'dump');
  await run(join(directory, 'pg_dump'), ['-Fc', '-f', file, database.url]);
  await run(join(directory, 'pg_restore'), ['--exit-on-error', '-d', restored.url, file]);
  kysely = openDatabase(restored.url, 2);
});
afterAll(async () => {
  await kysely?.destroy();
  await restored?.drop();
  await database.drop();
  await owner.drop();
  await rm(folder, { recursive: true, force: true });
});

describe('a database from pg_dump and pg_restore', () => {
  it('says of itself what the old one says', async () => {
    expect(await migrationState(kysely)).toBe('current');
    expect(await migrate(kysely, knownModels())).toEqual({
      migrations: [],
      functions: [],
      mended: [],
      other: [],
      failed: [],
    });
    const before = await counts(database);
    expect(before).toHaveLength(4);
    expect(before.some((row) => row.filling)).toBe(true);
    // Which rows a filter lets in is counted anew, by a worker, when the row that has just entered it is done.
    expect(await counts(restored)).toEqual(
      before.map((row) => (row.pipeline === 'col' ? { ...row, source_rows: null } : row)),
    );
    const pipelines = `select id, name, source::text, target_table::text, array(select m::text from unnest(members) m order by 1) as members, filter, columns - target_column as columns, generation, live, filled_at from embedder.pipeline order by id`;
    expect((await restored.query(pipelines)).rows).toEqual((await database.query(pipelines)).rows);
    for (const table of ['job', 'dead_letter', 'backfill_range', 'backfill_run', 'tally']) {
      const all = `select to_jsonb(t)::text as row from embedder.${table} t order by 1`;
      expect((await restored.query(all)).rows, table).toEqual((await database.query(all)).rows);
    }
  });

  it('its triggers queue before any worker has come, and name other tables than the old ones', async () => {
    await restored.query(`insert into doc values (20, 'after'), (21, 'gone'); delete from doc where id = 21; update doc set body = 'twice' where id = 4;
      insert into part values (102, 'p'); delete from part where id = 101; insert into part_low values (8, 'leaf 2'); insert into col values (9, 'x', 'en');
      update "Half way" set body = 'u' where id in (1, 2000); delete from "Half way" where id = 1500`);
    const { rows } = await restored.query(
      `select embedder.missed_by(p) from embedder.pipeline p where embedder.missed_by(p) is not null`,
    );
    expect(rows).toEqual([]);
    const queued = await restored.query<{ key: string }>(
      `select p.name || ' ' || j.row_key as key from embedder.job j join embedder.pipeline p on p.id = j.pipeline_id where p.name <> 'half'`,
    );
    expect(queued.rows.map(({ key }) => key)).toEqual(
      expect.arrayContaining(['doc 20', 'doc 4', 'part 102', 'part 8', 'col 9']),
    );
    expect(await wrong(database)).not.toEqual([]);
  });

  it('a worker goes on with it, and no row is lost', async () => {
    expect(await drain(restored)).toMatchObject({ failing: [] });
    expect(await wrong(restored)).toEqual([]);
    const done = { state: 'live', stale_rows: '0', pending: '0', leased: '0', error: null, filling: false };
    expect(await counts(restored)).toEqual([
      { pipeline: 'col', source_rows: '3', embedded_rows: '3', failed: '0', index_state: 'built', ...done },
      { pipeline: 'doc', source_rows: '4', embedded_rows: '3', failed: '1', index_state: 'built', ...done },
      {
        pipeline: 'half',
        source_rows: '1999',
        embedded_rows: '1999',
        failed: '0',
        index_state: 'none',
        ...done,
      },
      { pipeline: 'part', source_rows: '4', embedded_rows: '4', failed: '0', index_state: 'built', ...done },
    ]);
    // Its owner's rights are hers as before, and the old database has not noticed anything.
    expect(
      (
        await restored.query(
          `select relowner::regrole::text as o from pg_class where relname = 'doc_embedding'`,
        )
      ).rows,
    ).toEqual([{ o: owner.name }]);
    expect((await database.query('select from doc where id = 20')).rowCount).toBe(0);
  });

  it('and everything can be done with it', async () => {
    await restored.query(`alter table doc rename column body to content; alter table part rename to parted;
      select embedder.alter_pipeline('col', filter => '', new_name => 'all'); select embedder.alter_pipeline('half', input => '{body}!', auto_cutover => true);
      select embedder.retry_failed('doc')`);
    await drain(restored);
    await restored.query(
      `insert into parted values (50, 'fifty'); update doc set content = 'last' where id = 20`,
    );
    expect(await drain(restored)).toMatchObject({ embedded: 2, failing: [] });
    const { rows } = await restored.query(
      'select pipeline, source, generation, embedded_rows::int, failed::int, error from embedder.status order by 1',
    );
    expect(rows).toEqual([
      { pipeline: 'all', source: 'col', generation: 1, embedded_rows: 4, failed: 0, error: null },
      { pipeline: 'doc', source: 'doc', generation: 1, embedded_rows: 3, failed: 0, error: null },
      { pipeline: 'half', source: '"Half way"', generation: 2, embedded_rows: 1999, failed: 0, error: null },
      { pipeline: 'part', source: 'parted', generation: 1, embedded_rows: 5, failed: 0, error: null },
    ]);
    await restored.query('select embedder.drop_pipeline(name, true) from embedder.pipeline where live');
    const left = await restored.query(
      `select proname as name from pg_proc where pronamespace = 'embedder'::regnamespace and proname ~ '^pipeline_\\d' union all select tgname from pg_trigger where tgname ~ '^embedder_'`,
    );
    expect(left.rows).toEqual([]);
  });
});

describe('a dump whose data comes after its triggers, which are disabled meanwhile', () => {
  const make = async () => {
    const from = await createMigratedDatabase();
    await from.query(`create table doc (id int primary key, body text); create table col (id int primary key, body text);
      insert into doc values (1, 'a'), (2, 'b'); insert into col values (1, 'c');
      select embedder.create_pipeline('doc', 'body', index => 'none'), embedder.create_pipeline('col', 'body', target_column => 'e', index => 'none')`);
    await drain(from);
    return from;
  };
  const right = async (where: TestDatabase) => {
    const { rows } = await where.query<{ key: string; text: string }>(
      `select 'doc ' || id as key, body as text from doc union all select 'col ' || id, body from col`,
    );
    return wrongKeys(
      await readVectors(
        where,
        `select 'doc ' || id, embedding from doc_embedding union all select 'col ' || id, e from col`,
      ),
      new Map(rows.map(({ key, text }) => [key, fakeVector(text)])),
    );
  };
  const dump = async (...options: string[]) => {
    const { directory } = await requireServerBinaries();
    await run(join(directory, 'pg_dump'), options);
  };
  const restore = async (...options: string[]) => {
    const { directory } = await requireServerBinaries();
    await run(join(directory, 'pg_restore'), ['--exit-on-error', ...options]);
  };

  it('is whole: declarations, jobs, counts and vectors, and its triggers work', async () => {
    const from = await make();
    const to = await createDatabase();
    try {
      await from.query(`insert into doc values (3, 'waits'); update col set body = 'changed' where id = 1`);
      const file = join(folder, 'two-steps');
      await dump('-Fc', '-f', file, from.url);
      await restore('--schema-only', '-d', to.url, file);
      await restore('--data-only', '--disable-triggers', '-d', to.url, file);
      const tables = ['pipeline', 'declaration', 'job', 'tally'];
      for (const table of tables) {
        const count = async (where: TestDatabase) =>
          (await where.query(`select from embedder.${table}`)).rowCount;
        expect(await count(to), table).toBe(await count(from));
      }
      await to.query(`insert into doc values (4, 'new')`);
      expect(await drain(to)).toMatchObject({ failing: [] });
      expect(await right(to)).toEqual([]);
      expect(await wrongCounts(to)).toEqual([]);
    } finally {
      await to.drop();
      await from.drop();
    }
  });

  it('of the source alone, into a database in which it is followed: what it brings is found', async () => {
    const from = await make();
    const to = await make();
    try {
      await from.query(`insert into doc values (3, 'more'); update doc set body = 'other' where id = 1; delete from doc where id = 2;
        update col set body = 'another'; update col set e = null`);
      const file = join(folder, 'data-of-sources');
      await dump('-Fc', '-a', '-t', 'doc', '-t', 'col', '-f', file, from.url);
      await to.query('truncate doc, col');
      await to.query(`insert into doc values (9, 'goes'); delete from doc where id = 9`);
      await restore('--disable-triggers', '-d', to.url, file);
      expect((await drain(to)).embedded).toBe(3);
      expect(await right(to)).toEqual([]);
      expect(await wrongCounts(to)).toEqual([]);
    } finally {
      await to.drop();
      await from.drop();
    }
  });
});
