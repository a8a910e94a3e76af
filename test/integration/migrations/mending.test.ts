import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  type MigratedDatabase,
  readVectors,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { createDatabase, createRole } from '../../support/postgres.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create schema app;
    create table app.doc (id int primary key, body text); insert into app.doc values (1, 'one'), (2, 'two');
    create table app.part (id int primary key, body text) partition by range (id);
    create table app.part_low partition of app.part for values from (0) to (10);
    select embedder.create_pipeline('app.doc', 'body', index => 'none'), embedder.create_pipeline('app.part', 'body', index => 'none')`);
  await drain(database);
});
afterAll(() => database.drop());

async function one<R extends Record<string, unknown>>(text: string): Promise<R> {
  return (await database.query<R>(text)).rows[0]!;
}

/** Does the damage, lets migrate mend it, and shows that it is whole again: a second run finds nothing, and a text is embedded. */
async function mendedAfter(damage: string): Promise<string[]> {
  await database.query(damage);
  const { mended, failed, other } = await migrate(database.kysely);
  expect({ failed, other }).toEqual({ failed: [], other: [] });
  expect(await migrate(database.kysely)).toEqual({
    migrations: [],
    functions: [],
    mended: [],
    other: [],
    failed: [],
  });
  const text = `text after ${damage}`;
  await database.query('update app.doc set body = $1 where id = 1', [text]);
  await drain(database);
  expect(
    wrongKeys(
      await readVectors(database, 'select id, embedding from app.doc_embedding where id = 1'),
      new Map([['1', fakeVector(text)]]),
    ),
  ).toEqual([]);
  expect(await one(`select state, error from embedder.status where pipeline = 'doc'`)).toEqual({
    state: 'live',
    error: null,
  });
  return mended;
}

describe('migrate says and mends', () => {
  it.each<[what: string, damage: string, line: string]>([
    [
      'pgvector in another schema',
      'create schema ext; alter extension vector set schema ext',
      'extension vector was: in schema public; and is: in schema ext',
    ],
    [
      'schema public, made anew',
      'drop schema public cascade; create schema public',
      'function public.enqueue_embed(text,text) is missing',
    ],
    [
      'a function that is gone',
      'drop function embedder.max_requests()',
      'function max_requests() is missing',
    ],
    [
      'a function that was replaced by hand',
      `create or replace function embedder.worker_timeout() returns interval language sql immutable as $$ select interval '1 hour' $$`,
      'function worker_timeout() is not as migrate has left it',
    ],
    ['a view that is gone', 'drop view embedder.worker', 'view worker is missing'],
    [
      'a table that a dump has left out',
      'drop table embedder.dead_letter cascade',
      'table dead_letter is missing',
    ],
    [
      'a column that is gone',
      'alter table embedder.job drop column fresh cascade',
      'column job.fresh is missing',
    ],
    ['a sequence that is gone', 'drop sequence embedder.asleep', 'sequence asleep is missing'],
    ['an index that is gone', 'drop index embedder.job_due', 'index job.job_due is missing'],
    [
      'a default that is gone',
      'alter table embedder.job alter column due_at drop default',
      'column job.due_at was: timestamp with time zone not null default now(); and is: timestamp with time zone not null',
    ],
    ['a policy that is gone', 'drop policy owner on embedder.job', 'policy job.owner is missing'],
    [
      'row level security that is off',
      'alter table embedder.pipeline disable row level security',
      'table pipeline was: row level security, public: SELECT; and is: public: SELECT',
    ],
    [
      'a right that was taken away',
      'revoke usage on schema embedder from public',
      'grant usage on schema embedder to public is missing',
    ],
    [
      'a right that was given to everybody',
      'grant execute on function embedder.rescue_jobs() to public',
      'function rescue_jobs() is not as migrate has left it',
    ],
    [
      'a trigger of the declarations',
      'drop trigger after_pipeline on embedder.pipeline',
      'trigger pipeline.after_pipeline is missing',
    ],
    ['a type that is gone', 'drop type embedder.result_column cascade', 'type result_column is missing'],
    ['the view of a pipeline', 'drop view app.doc_with_embedding', 'pipeline doc: it has no view'],
    [
      'a trigger on a partition',
      'drop trigger embedder_2_inserted on app.part_low',
      'pipeline part: app.part_low has no trigger for insert',
    ],
    [
      'the table of the declarations, which come back with their targets and jobs',
      'drop table embedder.pipeline cascade',
      'pipeline doc was lost, and is back',
    ],
    [
      'declarations that a restore could not read',
      'truncate embedder.pipeline cascade; alter table embedder.backfill_run drop constraint backfill_run_pipeline_id_fkey',
      'pipeline part was lost, and is back',
    ],
    [
      'the list of applied files',
      'drop table embedder.applied_file cascade',
      'table applied_file was: public: SELECT; and is: nothing of that',
    ],
  ])('%s', async (_, damage, line) => {
    expect(await mendedAfter(damage)).toContain(line);
  });

  it('a record of its own that is gone, without a word: all is compared', async () => {
    expect(
      await mendedAfter('drop table embedder.applied_object; drop function embedder.max_requests()'),
    ).toEqual([]);
    expect(await one(`select to_regproc('embedder.max_requests') is not null as there`)).toEqual({
      there: true,
    });
  });

  it('rows that were written while a trigger was missing', async () => {
    await database.query(`insert into app.part values (1, 'before')`);
    await drain(database);
    await database.query(`drop trigger embedder_2_updated on app.part_low; drop trigger embedder_2_updated on app.part;
      update app.part_low set body = 'unseen'`);
    expect((await migrate(database.kysely)).mended).toContain(
      'pipeline part: rows that were written without its triggers are looked for',
    );
    await drain(database);
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from app.part_embedding'),
        new Map([['1', fakeVector('unseen')]]),
      ),
    ).toEqual([]);
  });

  it('embed and search after pgvector was dropped with all that stood on it; a target that went with it is said', async () => {
    await database.query('drop extension vector cascade');
    const { mended, failed } = await migrate(database.kysely);
    expect(mended).toContain('column query_vector.embedding is missing');
    expect(mended).toContain('function search(text,vector,integer,text) is missing');
    expect(failed[0]!.problem).toMatch(
      /^column embedding of app\.doc_embedding is gone\. Empty that table and add it again: truncate/,
    );
    for (const { problem } of failed) await database.query(/(truncate .*)$/.exec(problem)![1]!);
    await database.query(`select embedder.resume_pipeline('doc'), embedder.resume_pipeline('part')`);
    await drain(database);
    expect(await one(`select count(*)::int as n from app.doc_embedding where embedding is not null`)).toEqual(
      { n: 2 },
    );
    expect(
      await one(
        `select count(*)::int as n from embedder.search('doc', (select embedding from app.doc_embedding limit 1), 5)`,
      ),
    ).toEqual({ n: 2 });
  });
});

describe('migrate says and leaves alone', () => {
  it('a column that somebody has made another one', async () => {
    await database
      .query(
        'alter table embedder.dead_letter add column note text; alter table embedder.worker_process alter column pid type bigint',
      )
      .catch(() => {});
    await database.query(
      'drop view embedder.worker; alter table embedder.worker_process alter column pid type bigint',
    );
    const { other, mended } = await migrate(database.kysely);
    expect(mended).toContain('view worker is missing');
    expect(other).toEqual(['column worker_process.pid is bigint not null, and must be integer not null']);
    expect((await migrate(database.kysely)).other).toEqual(other);
    await database.query(
      'drop view embedder.worker; alter table embedder.worker_process alter column pid type int',
    );
    expect((await migrate(database.kysely)).other).toEqual([]);
  });

  it('a pipeline whose table was left out of the restore', async () => {
    await database.query(`alter table app.part rename to was_part; update embedder.declaration set declaration = declaration || '{"source": "app.part"}' where id = 2;
      alter table embedder.pipeline disable trigger user; delete from embedder.pipeline where id = 2; alter table embedder.pipeline enable trigger user; drop view embedder.worker`);
    expect((await migrate(database.kysely)).mended).toContain(
      'pipeline part cannot be brought back: there is no table app.part',
    );
    const { rows } = await database.query(
      `select source::text, pipeline_id from embedder.stray_triggers() order by 1`,
    );
    expect(rows).toContainEqual({ source: 'app.was_part', pipeline_id: 2 });
  });

  it('a function of somebody else’s that bears the name of the wrapper in public', async () => {
    const other = await createDatabase({ vector: true });
    const kysely = openDatabase(other.url, 2);
    try {
      await other.query(
        `create function public.enqueue_embed(pipeline text, row_key text) returns boolean language sql as 'select false'`,
      );
      await migrate(kysely);
      expect((await other.query(`select enqueue_embed('a', 'b') as mine`)).rows).toEqual([{ mine: false }]);
    } finally {
      await kysely.destroy();
      await other.drop();
    }
  });
});

describe('a schema of an owner who is no superuser', () => {
  it('gets its roles from a superuser later, and stays its owner’s', async () => {
    const owner = await createRole();
    const other = await createDatabase({ vector: true });
    const asOwner = openDatabase(other.urlAs(owner), 2);
    const asSuperuser = openDatabase(other.url, 2);
    try {
      await other.query(`grant create on database ${other.name} to ${owner.name}`);
      await migrate(asOwner);
      // As after a first migrate where these roles were not there: what they have is taken away.
      await other.query(
        `drop owned by embedder_worker, embedder_admin, embedder_reader; drop function embedder.max_requests()`,
      );
      expect((await migrate(asSuperuser)).mended).toContain('function max_requests() is missing');
      expect(
        (
          await other.query(
            `select count(*)::int as n from pg_proc where pronamespace = 'embedder'::regnamespace and proowner <> '${owner.name}'::regrole`,
          )
        ).rows,
      ).toEqual([{ n: 0 }]);
      expect(
        (
          await other.query(
            `select has_function_privilege('embedder_worker', 'embedder.rescue_jobs()', 'execute') as may`,
          )
        ).rows,
      ).toEqual([{ may: true }]);
      expect((await migrate(asOwner)).mended).toEqual([]);
    } finally {
      await asOwner.destroy();
      await asSuperuser.destroy();
      await other.drop();
      await owner.drop();
    }
  });

  it('tells another role that it may not migrate', async () => {
    const stranger = await createRole();
    const kysely = openDatabase(database.urlAs(stranger), 2);
    try {
      await expect(migrate(kysely)).rejects.toThrow(
        /^schema embedder belongs to postgres, and this role is no member of it$/,
      );
    } finally {
      await kysely.destroy();
      await stranger.drop();
    }
  });
});
