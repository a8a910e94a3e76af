import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { type Database, openDatabase } from '../../../src/database/database.ts';
import { migrationState } from '../../../src/database/migrate/applied-files.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { functionFiles, migrationFiles } from '../../../src/database/migrate/sql-files.ts';
import { UserError } from '../../../src/errors.ts';
import { drain, jobCount, knownModels } from '../../support/pgembedder.ts';
import { createDatabase, createRole, type TestDatabase, type TestRole } from '../../support/postgres.ts';

const migrations = await migrationFiles();
const functions = await functionFiles();

let database: TestDatabase;
let opened: Database[];
let roles: TestRole[];

beforeEach(async () => {
  database = await createDatabase();
  opened = [];
  roles = [];
});
afterEach(async () => {
  await Promise.all(opened.map((each) => each.destroy()));
  await database.drop();
  for (const role of roles) await role.drop();
});

function open(url = database.url): Database {
  const kysely = openDatabase(url, 2);
  opened.push(kysely);
  return kysely;
}

async function role(): Promise<TestRole> {
  const made = await createRole();
  roles.push(made);
  return made;
}

const objects = async () =>
  (
    await database.query<{ name: string; oid: number }>(
      `select relname as name, oid::int from pg_class where relnamespace = 'embedder'::regnamespace
       union all select proname || '(' || pg_get_function_identity_arguments(oid) || ')', oid::int from pg_proc where pronamespace = 'embedder'::regnamespace order by 1, 2`,
    )
  ).rows;

describe('migrate', () => {
  it('brings an empty database up to date, and does nothing the second time', async () => {
    const kysely = open();
    expect(await migrationState(kysely)).toBe('none');
    expect(await migrate(kysely, knownModels())).toEqual({
      migrations,
      functions,
      mended: [],
      other: [],
      failed: [],
    });
    expect(await migrationState(kysely)).toBe('current');
    const before = await objects();
    expect(before.length).toBeGreaterThan(40);
    expect(await migrate(kysely, knownModels())).toEqual({
      migrations: [],
      functions: [],
      mended: [],
      other: [],
      failed: [],
    });
    expect(await objects()).toEqual(before);
    const { rows } = await database.query(
      `select name, task, dimensions, max_tokens from embedder.model where name = 'all-MiniLM-L6-v2'`,
    );
    expect(rows).toEqual([
      { name: 'all-MiniLM-L6-v2', task: 'feature-extraction', dimensions: 384, max_tokens: 256 },
    ]);
  });

  it('may be run by several at once: each file is applied by one of them', async () => {
    const results = await Promise.all(
      [open(), open(), open()].map((kysely) => migrate(kysely, knownModels())),
    );
    // Each is done once; who does which is chance.
    expect(results.flatMap((result) => result.migrations).sort()).toEqual(migrations.toSorted());
    expect(results.flatMap((result) => result.functions).sort()).toEqual(functions.toSorted());
    expect(await migrationState(opened[0]!)).toBe('current');
  });

  it('applies functions again that have changed, and makes those of the pipelines anew', async () => {
    const kysely = open();
    await migrate(kysely, knownModels());
    await database.query(`create table doc (id int primary key, body text); insert into doc values (1, 'a');
      select embedder.create_pipeline('doc', 'body', index => 'none');
      create or replace function embedder.pipeline_1_read(row_keys text[], max_characters int) returns table (place int, input text, source_hash uuid)
        language plpgsql as $$ begin raise 'of an older version'; end $$;
      create or replace function embedder.wake_statement() returns text language sql as $$ select 'of an older version' $$;
      update embedder.applied_file set sha256 = 'of an older version' where name = 'sql/base/settings.sql'`);
    expect(await migrationState(kysely)).toBe('old');
    await expect(drain(database)).rejects.toThrow(UserError);
    expect(await migrate(kysely)).toEqual({
      migrations: [],
      functions: ['sql/base/settings.sql'],
      mended: ['function wake_statement() is not as migrate has left it'],
      other: [],
      failed: [],
    });
    const { rows } = await database.query('select embedder.wake_statement() as statement');
    expect(rows).toEqual([{ statement: expect.stringMatching(/embedder\.wake/) }]);
    expect(await drain(database)).toMatchObject({ embedded: 1, failing: [] });
  });

  it('does so although one pipeline’s table is gone', async () => {
    const kysely = open();
    await migrate(kysely, knownModels());
    await database.query(`create table doc (id int primary key, body text); create table lost (id int primary key, body text);
      select embedder.create_pipeline('lost', 'body'); select embedder.create_pipeline('doc', 'body', index => 'none');
      drop table lost; insert into doc values (1, 'a'); update embedder.applied_file set sha256 = 'x'
        where name like 'sql/%'`);
    expect((await migrate(kysely)).functions).toEqual(functions);
    expect(await drain(database)).toMatchObject({ embedded: 1 });
    expect(await jobCount(database)).toBe(0);
  });

  it('leaves the whole as it was when a statement fails', async () => {
    await database.query('create schema embedder; create table embedder.dead_letter (note text)');
    const kysely = open();
    await expect(migrate(kysely)).rejects.toMatchObject({ code: '42P07' });
    const { rows } = await database.query(
      `select relname from pg_class where relnamespace = 'embedder'::regnamespace and relkind = 'r' order by 1`,
    );
    expect(rows.map((row) => row.relname)).toEqual(['applied_file', 'dead_letter']);
    await database.query('drop table embedder.dead_letter');
    expect((await migrate(kysely)).migrations).toEqual(migrations);
  });

  it('says what is missing to a role that may not create', async () => {
    const poor = await role();
    const refused = migrate(open(database.urlAs(poor)));
    await expect(refused).rejects.toThrow(UserError);
    await expect(refused).rejects.toMatchObject({
      message: expect.stringMatching(/^migrate may not do that: permission denied/),
      hint: expect.stringMatching(/create extension vector/),
    });
    await database.query('create extension vector');
    const again = migrate(open(database.urlAs(poor)));
    await expect(again).rejects.toMatchObject({
      message: expect.stringMatching(/^migrate may not do that: permission denied for database/),
      hint: expect.stringMatching(/grant create on database/),
    });
  });

  it('works for the owner of a database who is nobody special, and so do pipelines on her tables', async () => {
    const owner = await role();
    await database.query(`create extension vector; alter database ${database.name} owner to ${owner.name}`);
    const url = database.urlAs(owner);
    expect((await migrate(open(url), knownModels())).migrations).toEqual(migrations);
    const { rows } = await database.query(
      `select to_regproc('public.enqueue_embed') as wrapper, to_regprocedure('embedder.enqueue_embed(text, text)') is not null as own`,
    );
    // On PostgreSQL 15 and later nobody but its owner may create in public; the database's owner is that.
    expect(rows[0]!.own).toBe(true);
    const hers = open(url);
    await hers.schema
      .createTable('doc')
      .addColumn('id', 'integer', (c) => c.primaryKey())
      .addColumn('body', 'text')
      .execute();
    await database.query(
      `set role ${owner.name}; insert into doc values (1, 'a'); select embedder.create_pipeline('doc', 'body'); reset role`,
    );
    expect(await drain({ ...database, url })).toMatchObject({ embedded: 1, failing: [] });
  });

  it('says what to install where the server has no pgvector', async () => {
    // The server has it; this database is made not to know.
    await database.query(`set allow_system_table_mods = on;
      alter view pg_catalog.pg_available_extensions rename to all_extensions;
      create view pg_catalog.pg_available_extensions as select * from pg_catalog.all_extensions where name <> 'vector';
      reset allow_system_table_mods`);
    await expect(migrate(open())).rejects.toMatchObject({
      name: 'UserError',
      message: 'pgvector is not installed on this server',
      hint: expect.stringMatching(/apt-get install postgresql-17-pgvector/),
    });
    expect((await database.query(`select from pg_namespace where nspname = 'embedder'`)).rowCount).toBe(0);
  });

  it('refuses a pgvector that is too old', async () => {
    await database.query(
      `create extension vector; update pg_extension set extversion = '0.4.4' where extname = 'vector'`,
    );
    await expect(migrate(open())).rejects.toMatchObject({
      message: 'pgvector 0.4.4 is too old',
      hint: expect.stringMatching(/0\.5 or later.*alter extension vector update/),
    });
    await database.query(`update pg_extension set extversion = '0.5.0' where extname = 'vector'`);
    expect((await migrate(open())).migrations).toEqual(migrations);
  });
});
