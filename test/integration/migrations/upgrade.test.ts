import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../../src/database/database.ts';
import { migrationState } from '../../../src/database/migrate/applied-files.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  knownModels,
  type MigratedDatabase,
  readVectors,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { createDatabase, type TestDatabase } from '../../support/postgres.ts';

/**
 * The SQL files of earlier versions, as they were, and how many jobs their create_pipeline makes for the six and two rows
 * below: the first one a job a row; later ones make none, but for the row that changes afterwards.
 */
const VERSIONS = [
  { version: 'schema-0001', jobs: { doc: '4', doc2: '2' } },
  { version: 'schema-0004', jobs: { doc: '1', doc2: '0' } },
];

/** What the migrate of that version did. */
async function migrateAsOnce(database: TestDatabase, version: string): Promise<void> {
  const files = fileURLToPath(new URL(`../../fixtures/${version}`, import.meta.url));
  await database.query(`create schema embedder;
    create table embedder.applied_file (name text primary key, sha256 text not null, applied_at timestamptz not null default now())`);
  for (const folder of ['migrations', 'sql']) {
    const names = (await readdir(join(files, folder))).sort();
    const texts = await Promise.all(names.map((name) => readFile(join(files, folder, name), 'utf8')));
    await database.query(`begin; set local check_function_bodies = off; ${texts.join('\n')}; commit`);
    for (const [place, name] of names.entries())
      await database.query(
        `insert into embedder.applied_file (name, sha256) values ($1, encode(sha256(convert_to($2, 'UTF8')), 'hex'))`,
        [`${folder}/${name}`, texts[place]],
      );
  }
}

/** All that the catalogs say of schema embedder, but for the pipelines' own functions and views; a line each. */
async function catalogs(database: TestDatabase): Promise<string[]> {
  const { rows } = await database.query<{ line: string }>(`
    with mine as (select * from pg_class where relnamespace = 'embedder'::regnamespace and relname !~ '^pipeline_\\d+_'),
    functions as (select * from pg_proc where (pronamespace = 'embedder'::regnamespace and proname !~ '^pipeline_\\d+_')
      or proname = 'enqueue_embed')
    select format('relation %s %s %s %s rls=%s acl=%s', relname, relkind, relpersistence, reloptions, relrowsecurity,
      (select array_agg(a::text order by a::text) from unnest(relacl) a)) as line from mine where relkind not in ('i', 'S')
    union all
    select format('column %s.%s %s %s default=%s null=%s identity=%s statistics=%s collation=%s acl=%s comment=%s', c.relname, a.attname,
      format_type(a.atttypid, a.atttypmod), a.attgenerated, pg_get_expr(d.adbin, d.adrelid), not a.attnotnull, a.attidentity, a.attstattarget, a.attcollation, a.attacl::text, col_description(c.oid, a.attnum))
    from mine c join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum where c.relkind in ('r', 'v', 'c')
    union all select format('constraint %s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) from pg_constraint where connamespace = 'embedder'::regnamespace
    union all select format('index %s', pg_get_indexdef(oid)) from mine where relkind = 'i'
    union all select format('sequence %s %s', relname, relacl) from mine where relkind = 'S'
    union all select format('view %s %s', relname, pg_get_viewdef(oid)) from mine where relkind = 'v'
    union all select format('trigger %s %s %s', tgname, tgenabled, pg_get_triggerdef(t.oid)) from pg_trigger t join mine c on c.oid = t.tgrelid where not tgisinternal
    union all select format('policy %s %s %s %s %s', polname, polrelid::regclass, polcmd, pg_get_expr(polqual, polrelid), pg_get_expr(polwithcheck, polrelid)) from pg_policy p join mine c on c.oid = p.polrelid
    union all select format('type %s %s', typname, typtype) from pg_type where typnamespace = 'embedder'::regnamespace and typname !~ '^_?pipeline_\\d+_'
    union all select format('comment %s %s', relname, obj_description(oid, 'pg_class')) from mine
    union all select format('function %s acl=%s comment=%s', pg_get_functiondef(oid),
      (select array_agg(a::text order by a::text) from unnest(proacl) a), obj_description(oid, 'pg_proc')) from functions
    union all select format('file %s %s', name, sha256) from embedder.applied_file
    union all select format('schema %s %s', nspname, nspacl) from pg_namespace where nspname = 'embedder'`);
  // The order of a table's columns is history, and so is that of a composite type; a row is read by its names.
  return rows.map(({ line }) => line).sort();
}

describe.each(VERSIONS)('a database of an earlier version, $version', ({ version, jobs }) => {
  let database: TestDatabase;
  let kysely: Database;
  let fresh: MigratedDatabase;

  beforeAll(async () => {
    database = await createDatabase({ vector: true });
    await migrateAsOnce(database, version);
    const fake = (text: string) => `'[${fakeVector(text).join(',')}]'`;
    await database.query(`create table doc (id int primary key, body text); create table doc2 (a text, b int, body text, primary key (a, b));
      insert into embedder.model (name, task, dimensions, max_tokens) values ('all-MiniLM-L6-v2', 'feature-extraction', 384, 256);
      insert into doc select i, 'text ' || i from generate_series(1, 6) i; insert into doc2 values ('x', 1, 'one'), ('y', 2, 'two');
      select embedder.create_pipeline('doc', 'body'); select embedder.create_pipeline('doc2', '{a}: {body}', target_column => 'e', index => 'none');
      delete from embedder.job where row_key in ('1', '2', '3');
      insert into doc_embedding (id, embedding, model) values (1, ${fake('text 1')}, 'all-MiniLM-L6-v2'), (2, ${fake('of old')}, 'all-MiniLM-L6-v2');
      update doc set body = 'text two' where id = 2;
      insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, '3', 5, 'once' from embedder.pipeline where name = 'doc'`);
    // Its tables are written by hand here, which later versions want to be told.
    if (version !== 'schema-0001')
      await database.query(`select embedder.recount(name) from embedder.pipeline`);
    fresh = await createMigratedDatabase();
    kysely = openDatabase(database.url, 2);
  });
  afterAll(async () => {
    await kysely.destroy();
    await database.drop();
    await fresh.drop();
  });

  it('is brought up to date: its catalogs are those of a new database', async () => {
    expect(await migrationState(kysely)).toBe('old');
    expect(await migrate(kysely, knownModels())).toMatchObject({ mended: [], other: [], failed: [] });
    expect(await migrationState(kysely)).toBe('current');
    const [actual, wanted] = [await catalogs(database), await catalogs(fresh)];
    expect(wanted.length).toBeGreaterThan(300);
    // Files of that version that are no more.
    expect(actual.filter((line) => !wanted.includes(line) && !line.startsWith('file '))).toEqual([]);
    expect(wanted.filter((line) => !actual.includes(line))).toEqual([]);
    expect(await migrate(kysely, knownModels())).toEqual({
      migrations: [],
      functions: [],
      mended: [],
      other: [],
      failed: [],
    });
  });

  it('has lost nothing: vectors, jobs and dead letters are counted', async () => {
    const { rows } = await database.query(
      'select pipeline, state, source_rows, embedded_rows, stale_rows, pending, failed, error from embedder.status order by 1',
    );
    expect(rows).toEqual([
      {
        pipeline: 'doc',
        state: 'filling',
        source_rows: '6',
        embedded_rows: '2',
        stale_rows: '1',
        pending: jobs.doc,
        failed: '1',
        error: null,
      },
      {
        pipeline: 'doc2',
        state: 'filling',
        source_rows: '2',
        embedded_rows: '0',
        stale_rows: '0',
        pending: jobs.doc2,
        failed: '0',
        error: null,
      },
    ]);
  });

  it('and its pipelines work on, with what is new', async () => {
    await database.query(`insert into doc values (10, 'ten'), (11, 'eleven'); delete from doc where id in (1, 11); update doc2 set a = 'z' where b = 2;
      select embedder.retry_failed('doc')`);
    expect(await drain(database)).toMatchObject({ failing: [] });
    const texts = new Map([
      ['2', fakeVector('text two')],
      ...[3, 4, 5, 6].map((i) => [`${i}`, fakeVector(`text ${i}`)] as const),
      ['10', fakeVector('ten')],
    ]);
    expect(wrongKeys(await readVectors(database, 'select id, embedding from doc_embedding'), texts)).toEqual(
      [],
    );
    expect(
      wrongKeys(
        await readVectors(database, 'select b, e from doc2'),
        new Map([
          ['1', fakeVector('x: one')],
          ['2', fakeVector('z: two')],
        ]),
      ),
    ).toEqual([]);
    const { rows } = await database.query(
      'select pipeline, state, source_rows, embedded_rows, stale_rows, pending, failed, error from embedder.status order by 1',
    );
    const done = { state: 'live', stale_rows: '0', pending: '0', failed: '0', error: null };
    expect(rows).toEqual([
      { pipeline: 'doc', source_rows: '6', embedded_rows: '6', ...done },
      { pipeline: 'doc2', source_rows: '2', embedded_rows: '2', ...done },
    ]);
    expect((await database.query('select id from doc_with_embedding')).rowCount).toBe(6);
    // A renamed column is followed, although the first version did not note its number.
    await database.query(
      `alter table doc rename column body to content; update doc set content = 'n' where id = 10`,
    );
    expect(await drain(database)).toMatchObject({ embedded: 1, failing: [] });
    await database.query(
      `select embedder.alter_pipeline('doc', input => '{content}!', auto_cutover => true); select embedder.drop_pipeline('doc2', true)`,
    );
    expect(await drain(database)).toMatchObject({ embedded: 6, failing: [] });
    expect((await database.query('select generation, embedded_rows from embedder.status')).rows).toEqual([
      { generation: 2, embedded_rows: '6' },
    ]);
  });
});
