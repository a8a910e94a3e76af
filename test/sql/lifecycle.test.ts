import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrate/migrate.ts';
import {
  cosine,
  createMigratedDatabase,
  drain,
  fakeVector,
  jobCount,
  knownModels,
  type MigratedDatabase,
  makeDue,
  queued,
  readVectors,
  wrongKeys,
} from '../support/pgembedder.ts';
import { createDatabase, createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let writer: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  writer = await createRole();
});
afterAll(async () => {
  await database.drop();
  await writer.drop();
});
beforeEach(() =>
  database.query(
    `create table doc (id int primary key, body text); insert into doc values (1, 'a'), (2, 'b'), (3, null)`,
  ),
);
afterEach(() =>
  database.query(`select embedder.drop_pipeline(name) from embedder.pipeline; drop schema if exists elsewhere cascade;
  drop table if exists doc, doc_embedding, renamed, taken_away cascade`),
);

const create = (rest = '') => database.query(`select embedder.create_pipeline('doc', 'body'${rest})`);
const status = async () => {
  const { rows } = await database.query<Record<string, unknown>>('select * from embedder.status');
  expect(rows).toHaveLength(1);
  return rows[0]!;
};
const embed = (...ids: number[]) =>
  database.query(
    `insert into doc_embedding (id, embedding, model) select id, array_fill(0.5, array[384])::vector, 'all-MiniLM-L6-v2' from unnest($1::int[]) id`,
    [ids],
  );
const functions = async () =>
  (
    await database.query<{ n: number }>(
      `select count(*)::int as n from pg_proc where pronamespace = 'embedder'::regnamespace and proname ~ '^pipeline_\\d'`,
    )
  ).rows[0]!.n;
const triggers = async () =>
  (
    await database.query<{ n: number }>(
      `select count(*)::int as n from pg_trigger where tgname ~ '^embedder_'`,
    )
  ).rows[0]!.n;

describe('pause_pipeline and resume_pipeline', () => {
  it('keep queueing and show in status', async () => {
    await create();
    await database.query(`delete from embedder.backfill_run; select embedder.pause_pipeline('doc')`);
    await database.query(`update doc set body = 'n' where id = 1`);
    expect(await queued(database, 'doc')).toEqual(['1']);
    expect(await status()).toMatchObject({ state: 'paused', pending: '1' });
    await database.query(`select embedder.resume_pipeline('doc')`);
    expect(await status()).toMatchObject({ state: 'filling', pending: '1' });
    expect(await queued(database, 'doc')).toEqual(['1']);
  });

  it('refuse an unknown pipeline, and say which there are', async () => {
    for (const verb of ['pause', 'resume', 'drop']) {
      await expect(database.query(`select embedder.${verb}_pipeline('nope')`)).rejects.toMatchObject({
        code: '42704',
        message: 'there is no pipeline "nope"',
        hint: expect.stringMatching(/^Make one: /),
      });
    }
    await create();
    await expect(database.query(`select embedder.pause_pipeline('nope')`)).rejects.toMatchObject({
      hint: 'There are: doc.',
    });
  });
});

describe('drop_pipeline', () => {
  it('leaves the target and nothing else', async () => {
    await create();
    await embed(1);
    await database.query(
      `insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, '2', 5, 'e' from embedder.pipeline`,
    );
    expect([await functions(), await triggers()]).toEqual([25, 4]);
    // Not the one with a vector, nor the dead letter; the one without text is looked at once, to be counted as done.
    expect(await queued(database, 'doc')).toEqual(['3']);
    await database.query(`insert into doc values (8, 'y')`);
    await database.query(`select embedder.drop_pipeline('doc')`);
    expect([await functions(), await triggers(), await jobCount(database)]).toEqual([0, 0, 0]);
    expect((await database.query('select from embedder.failed_job')).rowCount).toBe(0);
    expect((await database.query('select from doc_embedding')).rowCount).toBe(1);
    await database.query(`insert into doc values (9, 'z')`);
    expect(await jobCount(database)).toBe(0);
  });

  it('takes the sidecar along, or the column, when it is told to', async () => {
    await create();
    await database.query(`select embedder.drop_pipeline('doc', drop_target => true)`);
    expect((await database.query(`select to_regclass('doc_embedding') as t`)).rows).toEqual([{ t: null }]);
    await create(`, target_column => 'Em "b"'`);
    await database.query(`select embedder.drop_pipeline('doc', drop_target => true)`);
    const { rows } = await database.query('select * from doc where id = 1');
    expect(rows).toEqual([{ id: 1, body: 'a' }]);
  });

  it('leaves its neighbours alone, also the one whose number begins with its own', async () => {
    await database.query('alter table embedder.pipeline alter column id restart with 1');
    for (let i = 1; i <= 12; i++)
      await create(`, name => 'p${i}', index => 'none', target_column => 'e${i}', enqueue_existing => false`);
    const { rows } = await database.query<{ a: string; b: string }>(
      `select a.name as a, b.name as b from embedder.pipeline a join embedder.pipeline b on b.id::text like a.id::text || '_%' limit 1`,
    );
    const [short, long] = [rows[0]!.a, rows[0]!.b];
    await database.query(`select embedder.drop_pipeline('${short}')`);
    expect([await functions(), await triggers()]).toEqual([275, 44]);
    await database.query(`update doc set body = 'n' where id = 1`);
    expect(await queued(database, long)).toEqual(['1']);
  });

  it.each(['', ', drop_target => true'])(
    'works when the tables are gone already (drop_pipeline(name%s))',
    async (rest) => {
      await create();
      await database.query('drop table doc, doc_embedding cascade');
      await database.query(`select embedder.drop_pipeline('doc'${rest})`);
      expect((await database.query('select from embedder.pipeline')).rowCount).toBe(0);
      await database.query('create table doc (id int primary key, body text)');
      await create(`, target_column => 'e'`);
      await database.query('drop table doc');
      await database.query(`select embedder.drop_pipeline('doc'${rest})`);
      expect((await database.query('select from embedder.pipeline')).rowCount).toBe(0);
    },
  );
});

describe('status', () => {
  it('counts rows, vectors, stale vectors and jobs', async () => {
    await create();
    expect(await status()).toMatchObject({
      pipeline: 'doc',
      source: 'doc',
      task: 'feature-extraction',
      model: 'all-MiniLM-L6-v2',
      generation: 1,
      state: 'filling',
      error: null,
      source_rows: '3',
      embedded_rows: '0',
      stale_rows: '0',
      pending: '0',
      backfill_rows_estimate: '3',
      leased: '0',
      failed: '0',
      coverage: '0.0000',
      index_state: 'waiting',
      target_table: 'doc_embedding',
      target_column: 'embedding',
      filled_at: null,
    });
    await drain(database);
    expect(await status()).toMatchObject({
      state: 'live',
      embedded_rows: '2',
      stale_rows: '0',
      pending: '0',
      backfill_rows_estimate: '0',
      coverage: '1.0000',
      oldest_due_age: null,
      index_state: 'built',
      filled_at: expect.any(Date),
    });
    // One that is leased, one that failed with a vector and one without, one new, one gone, one that lost its text.
    await database.query(`insert into doc values (4, 'd'), (5, null), (6, 'f'); delete from doc where id = 6;
      update doc set body = 'n' where id = 1;
      update embedder.job set leased_by = 3, due_at = now() + interval '1 minute' where row_key = '1';
      insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, unnest(array['2', '3']), 5, 'e' from embedder.pipeline`);
    expect(await status()).toMatchObject({
      source_rows: '5',
      embedded_rows: '2',
      stale_rows: '2',
      pending: '2',
      leased: '1',
      failed: '2',
      coverage: '0.0000',
      oldest_due_age: expect.anything(),
    });
    await database.query(
      `update embedder.job set leased_by = null, due_at = now(); delete from embedder.dead_letter; update doc set body = ' ' where id = 2`,
    );
    await drain(database);
    expect(await status()).toMatchObject({
      source_rows: '5',
      embedded_rows: '2',
      stale_rows: '0',
      coverage: '1.0000',
    });
    expect(Number((await status()).rows_per_second)).toBeGreaterThan(0);
  });

  it('stays right through bulk changes, and can be counted anew', async () => {
    await create();
    const counts = async () => {
      await drain(database);
      const { source_rows, embedded_rows } = await status();
      const { rows } = await database.query(
        'select (select count(*) from doc) as source_rows, (select count(*) from doc_embedding) as embedded_rows',
      );
      expect({ source_rows, embedded_rows }).toEqual(rows[0]);
    };
    await database.query(`insert into doc select i, 'text ' || i from generate_series(10, 400) i`);
    await counts();
    await database.query(`update doc set id = id + 1000, body = case when id % 3 = 0 then null else body || '!' end where id > 100;
      delete from doc where id % 7 = 0; insert into doc values (1, 'again') on conflict (id) do update set body = 'upsert'`);
    await counts();
    await database.query(`begin; insert into doc values (5000, 'x'); delete from doc where id < 50; rollback;
      insert into doc values (5001, 'x'); delete from doc where id = 5001; select embedder.fold_tally()`);
    await counts();
    await database.query('delete from doc_embedding where id % 2 = 0');
    expect((await status()).embedded_rows).not.toBe(
      (await database.query('select from doc_embedding')).rowCount,
    );
    await database.query(`select embedder.recount('doc')`);
    expect(Number((await status()).embedded_rows)).toBe(
      (await database.query('select from doc_embedding')).rowCount,
    );
    await database.query(`select embedder.backfill('doc')`);
    await counts();
    await database.query('truncate doc');
    expect(await status()).toMatchObject({ source_rows: '0', embedded_rows: '0', coverage: null });
  });

  it('of a column target, whoever writes it, and of an empty table', async () => {
    await create(`, target_column => 'e'`);
    await drain(database);
    await database.query(`update doc set e = null where id = 2;
      insert into doc values (7, null, array_fill(0.5, array[384])::vector), (8, null, null)`);
    expect(await status()).toMatchObject({
      source_rows: '5',
      embedded_rows: '2',
      target_table: 'doc',
      target_column: 'e',
    });
    await drain(database);
    expect(await status()).toMatchObject({
      source_rows: '5',
      embedded_rows: '2',
      empty_rows: '3',
      coverage: '1.0000',
    });
    expect([...(await readVectors(database, 'select id, e from doc where e is not null')).keys()]).toEqual([
      '1',
      '2',
    ]);
    await database.query('truncate doc');
    expect(await status()).toMatchObject({ source_rows: '0', embedded_rows: '0', coverage: null });
  });
});

describe('when the tables change', () => {
  const errors = async () =>
    (
      await database.query<{ error: string | null }>(
        'select coalesce(embedder.missed_by(p), error) as error from embedder.pipeline p',
      )
    ).rows[0]!.error;
  /** What a sidecar holds, as "key text", where the text is the one whose vector it is. */
  const vectorsOf = async (sidecar: string, key = 'id') => {
    const texts = ['a', 'b', 'u', 'new', 'ten', 'thirteen', 'twelve', 'eleven'];
    const found = await readVectors(database, `select ${key}, embedding from ${sidecar}`);
    return [...found]
      .map(([id, vector]) => `${id} ${texts.find((text) => cosine(fakeVector(text), vector!) > 0.999)}`)
      .sort();
  };

  it('a renamed table or schema goes on', async () => {
    await create();
    await drain(database);
    await database.query(`create schema elsewhere; alter table doc set schema elsewhere; alter table elsewhere.doc rename to renamed;
      insert into elsewhere.renamed values (10, 'new'); delete from elsewhere.renamed where id = 1`);
    expect(await errors()).toBeNull();
    await drain(database);
    expect(await vectorsOf('doc_embedding')).toEqual(['10 new', '2 b']);
    expect(await status()).toMatchObject({ source: 'elsewhere.renamed', source_rows: '3' });
  });

  // Rows are written before and after; the worker that comes then finds what is wrong, or follows the change.
  it.each<[change: string, problem: RegExp | null, mend: string]>([
    ['alter table doc rename column body to content', null, ''],
    ['alter table doc rename column id to key', null, ''],
    ['alter table doc alter column id type bigint', null, ''],
    ['alter table doc alter column id type text', null, ''],
    ['alter table doc add column extra text; alter table doc drop column extra', null, ''],
    ['alter table doc_embedding rename to taken_away', null, ''],
    [
      'alter table doc drop column body',
      /^column "body" of table public\.doc does not exist\. Add the column again/,
      `alter table doc add column body text; update doc set body = 'u'`,
    ],
    [
      'alter table doc_embedding drop column embedding',
      /^column embedding of public\.doc_embedding is gone\. Empty that table and add it again: truncate public\.doc_embedding; alter table public\.doc_embedding add column embedding public\.vector\(384\) not null/,
      `truncate doc_embedding; alter table doc_embedding add column embedding vector(384) not null`,
    ],
    [
      'drop table doc_embedding cascade',
      /^its sidecar table is gone\. Drop the pipeline and create it again: select embedder\.drop_pipeline\('doc'\)/,
      `select embedder.drop_pipeline('doc'); select embedder.create_pipeline('doc', 'body')`,
    ],
    [
      'alter table doc drop constraint doc_pkey, add column uid uuid primary key default gen_random_uuid()',
      /^the primary key of public\.doc is \(uid\) now, and its results are kept by \(id\)\. Drop the pipeline and create it again: select embedder\.drop_pipeline\('doc', drop_target => true\)$/,
      'alter table doc drop column uid, add primary key (id)',
    ],
  ])('%s: the user writes on, and the worker sees', async (change, problem, mend) => {
    await create();
    await drain(database);
    await database.query(change);
    const [key, column] = [
      change.includes('to key') ? 'key' : 'id',
      change.includes('to content') ? 'content' : 'body',
    ];
    const gone = change.includes('drop column body');
    await database.query(`insert into doc (${key}) values ('10')`);
    if (!gone) await database.query(`update doc set ${column} = 'u' where ${key} in ('1', '10')`);
    await database.query(
      `update doc set ${key} = '11' where ${key} = '10'; delete from doc where ${key} = '2'`,
    );
    const left = await database.query<{ key: string }>(`select ${key}::text as key from doc order by 1`);
    expect(left.rows.map((row) => row.key)).toEqual(['1', '11', '3']);

    const result = await drain(database);
    expect(result.failing.map(({ error }) => error)).toEqual(problem ? [expect.stringMatching(problem)] : []);
    expect(await status()).toMatchObject(problem ? { state: 'error' } : { state: 'live', source_rows: '3' });
    if (mend !== '') {
      await expect(database.query(`select embedder.resume_pipeline('doc')`)).rejects.toMatchObject({
        code: '55000',
        message: expect.stringMatching(/^pipeline "doc" cannot work: /),
      });
      await database.query(mend);
      await makeDue(database);
      await drain(database);
    }
    const sidecar = change.includes('taken_away') ? 'taken_away' : 'doc_embedding';
    expect(await vectorsOf(sidecar, key)).toEqual(gone ? ['1 u', '11 u', '3 u'] : ['1 u', '11 u']);
    expect(await status()).toMatchObject({ state: 'live', error: null });
    await database.query(
      `insert into doc (${key}, ${column}) values ('12', 'new'); delete from doc where ${key} = '1'`,
    );
    await drain(database);
    expect(await vectorsOf(sidecar, key)).toContain('12 new');
    expect(await vectorsOf(sidecar, key)).not.toContain('1 u');
  });

  it('keys of another type that the old ones do not fit: rows that wait, have failed or have no text are found again', async () => {
    await create();
    await database.query(
      `alter table doc alter column id type text using 'a-' || id; insert into doc values ('a-7', '  ')`,
    );
    await drain(database);
    await database.query(`select embedder.pause_pipeline('doc'); update doc set body = 'new' where id = 'a-1'; insert into doc values ('a-10', 'ten');
      insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, 'a-2', 5, 'x' from embedder.pipeline;
      alter table doc alter column id type int using substr(id, 3)::int; select embedder.resume_pipeline('doc')`);
    expect((await drain(database)).failing).toEqual([]);
    expect(await vectorsOf('doc_embedding')).toEqual(['1 new', '10 ten', '2 b']);
    expect(await status()).toMatchObject({
      state: 'live',
      error: null,
      failed: '0',
      pending: '0',
      source_rows: '5',
      embedded_rows: '3',
      coverage: '1.0000',
    });
  });

  it('a trigger that somebody has dropped comes back, and what was missed is found', async () => {
    await create();
    await drain(database);
    const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
    await database.query(`drop trigger embedder_${rows[0]!.id}_inserted on doc; drop trigger embedder_${rows[0]!.id}_deleted on doc;
      insert into doc values (10, 'new'); delete from doc where id = 1`);
    await drain(database);
    expect(await vectorsOf('doc_embedding')).toEqual(['10 new', '2 b']);
    await database.query(`insert into doc values (11, 'eleven')`);
    await drain(database);
    expect(await vectorsOf('doc_embedding')).toEqual(['10 new', '11 eleven', '2 b']);
    expect(await status()).toMatchObject({ source_rows: '4', embedded_rows: '3' });
  });

  it('a copy that a dump has brought with the triggers loses them, and its rows are not taken for the source’s', async () => {
    await create();
    await drain(database);
    const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
    const copy = `create table copy (like doc including all); ${[
      ['inserted', 'insert', 'referencing new table as new_rows'],
      ['deleted', 'delete', 'referencing old table as old_rows'],
      ['truncated', 'truncate', ''],
    ]
      .map(
        ([verb, event, tables]) =>
          `create trigger embedder_${rows[0]!.id}_${verb} after ${event} on copy ${tables} for each statement execute function embedder.pipeline_${rows[0]!.id}_${verb}()`,
      )
      .join('; ')}`;
    await database.query(`${copy}; insert into copy values (1, 'x'), (50, 'y'); truncate copy`);
    expect(await vectorsOf('doc_embedding')).toEqual(['1 a', '2 b']);
    await database.query(`insert into copy values (1, 'x'), (50, 'y'); delete from copy where id = 1`);
    await drain(database);
    expect(await vectorsOf('doc_embedding')).toEqual(['1 a', '2 b']);
    expect(await status()).toMatchObject({ source_rows: '3', embedded_rows: '2', pending: '0' });
    expect((await database.query(`select from pg_trigger where tgrelid = 'copy'::regclass`)).rowCount).toBe(
      0,
    );
    await database.query('drop table copy');
  });

  it('rights on its books that somebody has revoked come back', async () => {
    await create();
    await drain(database);
    const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
    await database.query(
      `grant create on schema public to ${writer.name}; alter table doc owner to ${writer.name}`,
    );
    await drain(database);
    await database.query(`revoke all on all tables in schema embedder from ${writer.name}`);
    await expect(database.query(`insert into doc values (10, 'new')`)).rejects.toMatchObject({
      code: '42501',
      message: `permission denied for view pipeline_${rows[0]!.id}_tally`,
    });
    await drain(database);
    await database.query(`insert into doc values (10, 'new')`);
    await drain(database);
    expect(await vectorsOf('doc_embedding')).toContain('10 new');
  });

  it('a filter on a renamed column goes on, one on a dropped column says so and recovers', async () => {
    await database.query(
      `alter table doc add column lang text default 'en', add column "Odd ""x" int default 1`,
    );
    await create(`, filter => $$lang = 'en' and lang <> 'lang' and "Odd ""x" > 0$$`);
    await drain(database);
    await database.query(`alter table doc rename column lang to "my lang"; alter table doc rename column "Odd ""x" to odd;
      insert into doc values (10, 'ten', 'en', 1), (11, 'eleven', 'de', 1), (12, 'twelve', 'en', 0); update doc set "my lang" = 'fr' where id = 1`);
    expect((await drain(database)).failing).toEqual([]);
    expect(await vectorsOf('doc_embedding')).toEqual(['10 ten', '2 b']);
    expect(await status()).toMatchObject({ source_rows: '3', embedded_rows: '2' });
    await database.query('alter table doc drop column odd');
    await database.query(`insert into doc values (13, 'thirteen', 'en')`);
    expect((await drain(database)).failing).toMatchObject([
      { error: expect.stringMatching(/^its filter names column "odd"/) },
    ]);
    await database.query('alter table doc add column odd int default 1');
    await makeDue(database);
    expect((await drain(database)).failing).toEqual([]);
    expect(await vectorsOf('doc_embedding')).toEqual(
      expect.arrayContaining(['10 ten', '13 thirteen', '2 b']),
    );
    expect(await status()).toMatchObject({ state: 'live', source_rows: '5' });
  });

  it('a dropped source takes its pipeline with it', async () => {
    await create();
    await drain(database);
    await database.query('drop table doc cascade');
    await drain(database);
    expect((await database.query('select from embedder.pipeline')).rowCount).toBe(0);
    expect([await functions(), (await database.query('select from embedder.tally')).rowCount]).toEqual([
      0, 0,
    ]);
    expect((await database.query('select from doc_embedding')).rowCount).toBe(2);
  });

  it('the user can write on: no primary key any more', async () => {
    await create();
    await database.query('alter table doc drop constraint doc_pkey');
    await database.query(`insert into doc values (1, 'twice'), (7, 'n'); delete from doc where id = 1`);
    expect(await queued(database, 'doc')).toContain('7');
    const found = await database.query<{ problem: string | null }>(
      'select embedder.pipeline_problem(p) as problem from embedder.pipeline p',
    );
    expect(found.rows).toEqual([{ problem: 'table public.doc has lost its primary key. Add it again' }]);
    expect(await status()).toMatchObject({ pipeline: 'doc' });
  });

  it('writers of a broken pipeline do not wait for each other', async () => {
    await create();
    await database.query('drop table doc_embedding');
    const one = await database.pool.connect();
    try {
      await one.query(`begin; delete from doc where id = 1`);
      await database.query(
        `set statement_timeout = '5s'; delete from doc where id = 2; reset statement_timeout`,
      );
      await one.query('commit');
    } finally {
      one.release();
    }
    expect(await errors()).toMatch(/^its delete trigger failed/);
  });
});

describe('a role with few rights', () => {
  it('that may only insert, update and delete does so, and sees nothing of schema embedder', async () => {
    await create();
    await database.query(
      `delete from embedder.backfill_run; grant insert, update, delete, select on doc to ${writer.name}`,
    );
    await embed(1, 2);
    const client = await database.pool.connect();
    try {
      await client.query(`set role ${writer.name}`);
      await client.query(`insert into doc values (5, 'n'), (6, 'm')`);
      await client.query(`update doc set body = 'changed' where id = 1`);
      await client.query(`update doc set id = 7 where id = 6`);
      await client.query(`delete from doc where id = 2`);
      // Other people's pipelines are not there for it; the rows of a table that it may write, it may queue.
      for (const hidden of ['embedder.job', 'embedder.status', 'embedder.failed_job'])
        expect((await client.query(`select from ${hidden}`)).rowCount, hidden).toBe(0);
      expect((await client.query(`select embedder.enqueue_embed('doc', 1) as q`)).rows).toEqual([
        { q: false },
      ]);
      for (const forbidden of [
        `select embedder.drop_pipeline('doc')`,
        `select embedder.pause_pipeline('doc')`,
        `select embedder.alter_pipeline('doc', priority => 3)`,
        `select embedder.backfill('doc')`,
        'select * from embedder.model for update',
        `insert into embedder.job (pipeline_id, row_key) values (1, 'x')`,
        `select * from embedder.claim_jobs(1, array[1], 10, '1 min')`,
      ]) {
        await expect(client.query(forbidden), forbidden).rejects.toMatchObject({ code: '42501' });
      }
    } finally {
      await client.query('reset role');
      client.release();
    }
    expect(await queued(database, 'doc')).toEqual(['1', '5', '7']);
    const { rows } = await database.query('select id from doc_embedding');
    expect(rows).toEqual([{ id: 1 }]);
  });

  it('that may only insert, by any statement', async () => {
    await create(`, target_column => 'e', enqueue_existing => false`);
    await database.query(`grant insert on doc to ${writer.name}`);
    const client = await database.pool.connect();
    try {
      await client.query(
        `set role ${writer.name}; insert into doc (id, body) values (5, 'n'); insert into doc (id) select 6 on conflict do nothing`,
      );
      await expect(client.query('select * from doc')).rejects.toMatchObject({ code: '42501' });
    } finally {
      await client.query('reset role');
      client.release();
    }
    expect(await queued(database, 'doc')).toEqual(['5', '6']);
  });

  it('cannot make a table of its own run the triggers of another', async () => {
    await create();
    await embed(1);
    const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
    await database.query(
      `grant usage on schema embedder to ${writer.name}; create schema own authorization ${writer.name}`,
    );
    const client = await database.pool.connect();
    try {
      await client.query(`set role ${writer.name}; create table own.trap (id int)`);
      await expect(
        client.query(
          `create trigger trap after truncate on own.trap for each statement execute function embedder.pipeline_${rows[0]!.id}_truncated()`,
        ),
      ).rejects.toMatchObject({ code: '42501' });
    } finally {
      await client.query('reset role');
      client.release();
      await database.query(`revoke usage on schema embedder from ${writer.name}; drop schema own cascade`);
    }
  });
});

describe('pgvector in another schema', () => {
  it('is found there', async () => {
    const other = await createDatabase();
    const kysely = openDatabase(other.url);
    try {
      await other.query(`create schema "Ext ""s"""; create extension vector schema "Ext ""s"""`);
      await migrate(kysely, knownModels());
      await other.query(`create table doc (id int primary key, body text); insert into doc values (1, 'a'), (2, 'b');
        select embedder.create_pipeline('doc', 'body'), embedder.create_pipeline('doc', 'body', name => 'col', target_column => 'e')`);
      expect(await drain(other)).toMatchObject({ embedded: 4, failing: [] });
      const wanted = new Map([
        ['1', fakeVector('a')],
        ['2', fakeVector('b')],
      ]);
      expect(wrongKeys(await readVectors(other, 'select id, embedding from doc_embedding'), wanted)).toEqual(
        [],
      );
      expect(wrongKeys(await readVectors(other, 'select id, e from doc'), wanted)).toEqual([]);
      const { rows } = await other.query<{ n: number }>(
        `select count(*)::int as n from pg_index x join pg_class c on c.oid = indexrelid join pg_am a on a.oid = relam where amname = 'hnsw' and indisvalid`,
      );
      expect(rows).toEqual([{ n: 2 }]);
    } finally {
      await kysely.destroy();
      await other.drop();
    }
  });
});

it('a filter that never ends keeps neither its declaration nor writers waiting: a worker counts', async () => {
  await database.query(`create table slow (id int primary key, body text); insert into slow values (1, 'a');
    create function endless(text) returns boolean language plpgsql immutable as 'begin loop perform pg_sleep(1); end loop; end'`);
  const client = await database.pool.connect();
  try {
    await client.query(`set statement_timeout = '20s'`);
    await client.query(
      `select embedder.create_pipeline('slow', 'body', filter => 'public.endless(body)', index => 'none')`,
    );
    await client.query(`select embedder.alter_pipeline('slow', filter => 'public.endless(body || ''!'')')`);
    await client.query(`update embedder.pipeline set uncounted_since = null where name = 'slow'`);
    await client.query(
      `insert into embedder.tally (pipeline_id, recount) select id, true from embedder.pipeline where name = 'slow'`,
    );
    await client.query('select embedder.fold_tally()');
  } finally {
    await client.query('reset statement_timeout');
    client.release();
  }
  const { rows } = await database.query(
    `select source_rows from embedder.queue_count where pipeline_id = (select id from embedder.pipeline where name = 'slow')`,
  );
  expect(rows).toEqual([{ source_rows: null }]);
  await database.query(`select embedder.drop_pipeline('slow', true); drop table slow`);
});

it('a count that goes on for long keeps nobody waiting who changes the pipeline', async () => {
  await create(`, filter => 'id < 3'`);
  const counting = await database.pool.connect();
  const changing = await database.pool.connect();
  try {
    await counting.query(
      `begin; select pg_advisory_xact_lock(730637212, id) from embedder.pipeline where name = 'doc'`,
    );
    await changing.query(`set statement_timeout = '20s'`);
    await changing.query(`select embedder.alter_pipeline('doc', filter => '')`);
    await counting.query('commit');
  } finally {
    await changing.query('reset statement_timeout');
    counting.release();
    changing.release();
  }
  expect((await drain(database)).failing).toEqual([]);
  const { rows } = await database.query(
    `select source_rows::int from embedder.status where pipeline = 'doc'`,
  );
  expect(rows).toEqual([{ source_rows: 3 }]);
});

it('which generation is live, nobody changes by hand', async () => {
  await database.query(`create table two (id int primary key, body text); insert into two values (1, 'a');
    select embedder.create_pipeline('two', 'body', index => 'none'), embedder.alter_pipeline('two', options => '{"prompt": "x"}')`);
  for (const change of [
    "live = false where name = 'two' and live",
    "live = true where name = 'two' and generation = 2",
  ])
    await expect(database.query(`update embedder.pipeline set ${change}`)).rejects.toThrow(
      /which generation of pipeline "two" is live, a cutover alone changes|pipeline_live/,
    );
  await drain(database);
  await database.query(`select embedder.cutover('two')`);
  expect((await database.query(`select generation from embedder.pipeline where name = 'two'`)).rows).toEqual([
    { generation: 2 },
  ]);
  await database.query(`select embedder.drop_pipeline('two', true); drop table two`);
});
