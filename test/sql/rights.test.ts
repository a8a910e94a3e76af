import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EngineError } from '../../src/inference/backend/engine-error.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  readVectors,
  wrongKeys,
} from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;
let stranger: TestRole;
let worker: TestRole;
let admin: TestRole;
let reader: TestRole;
let clients: Map<TestRole, pg.Client>;

beforeAll(async () => {
  database = await createMigratedDatabase();
  [owner, stranger, worker, admin, reader] = (await Promise.all(
    Array.from({ length: 5 }, () => createRole()),
  )) as [TestRole, TestRole, TestRole, TestRole, TestRole];
  await database.query(`revoke create on schema public from public;
    grant create on schema public to ${owner.name}, ${stranger.name};
    grant embedder_worker to ${worker.name}; grant embedder_admin to ${admin.name}; grant embedder_reader to ${reader.name}`);
});
afterAll(async () => {
  await database.drop();
  for (const role of [owner, stranger, worker, admin, reader]) await role.drop();
});
beforeEach(async () => {
  clients = new Map();
  await as(
    owner,
    `create table doc (id int primary key, body text); insert into doc values (1, 'a'), (2, 'b')`,
  );
});
afterEach(async () => {
  for (const client of clients.values()) await client.end();
  await database.query(`delete from embedder.pipeline; drop owned by ${owner.name}, ${stranger.name} cascade;
    grant create on schema public to ${owner.name}, ${stranger.name}`);
});

/** Runs statements in a session of the role's own. */
async function as(role: TestRole, sql: string) {
  let client = clients.get(role);
  if (!client) {
    client = new pg.Client({ connectionString: database.urlAs(role) });
    clients.set(role, client);
    await client.connect();
  }
  return client.query(sql);
}
const work = (embedder = new FakeEmbedder()) =>
  drain(database, { connection: database.urlAs(worker), embedder });
const one = async (sql: string) => (await database.query<Record<string, unknown>>(sql)).rows[0];
const vectors = (texts: Record<string, string>) =>
  new Map(Object.entries(texts).map(([key, text]) => [key, fakeVector(text)]));
const refused = { code: '42501' };
/** How many rows a statement of the role reaches; none where it is refused altogether. */
const reached = async (role: TestRole, statement: string) =>
  as(role, statement).then(
    ({ rowCount }) => rowCount,
    (error: { code?: string }) => {
      if (error.code !== refused.code) throw error;
      return 0;
    },
  );

describe('the owner of a table, who is nobody special', () => {
  it.each([
    ['a sidecar', '', 'select id, embedding from doc_embedding'],
    ['a column', `, target_column => 'e'`, 'select id, e from doc where e is not null'],
  ])('makes a pipeline into %s, changes it and drops it', async (_, rest, target) => {
    await as(owner, `select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
    expect(await work()).toMatchObject({ embedded: 2, failing: [] });
    expect(wrongKeys(await readVectors(database, target), vectors({ 1: 'a', 2: 'b' }))).toEqual([]);
    await as(
      owner,
      `insert into doc values (3, 'c'); update doc set body = 'n' where id = 1; delete from doc where id = 2;
      select embedder.pause_pipeline('doc')`,
    );
    expect(await work()).toMatchObject({ embedded: 0 });
    await as(owner, `select embedder.resume_pipeline('doc')`);
    expect(await work()).toMatchObject({ embedded: 2, failing: [] });
    expect(wrongKeys(await readVectors(database, target), vectors({ 1: 'n', 3: 'c' }))).toEqual([]);
    await as(
      owner,
      `select embedder.alter_pipeline('doc', filter => 'id > 1', new_name => 'other', priority => 2)`,
    );
    // What is outside of the filter now goes when a worker has walked the table.
    expect(await work()).toMatchObject({ embedded: 0, failing: [] });
    expect(wrongKeys(await readVectors(database, target), vectors({ 3: 'c' }))).toEqual([]);
    expect((await as(owner, 'select id from other_with_embedding')).rows).toEqual([{ id: 3 }]);
    await as(owner, `select embedder.backfill('other', force => true)`);
    expect(await work()).toMatchObject({ embedded: 1, failing: [] });
    await as(owner, `select embedder.alter_pipeline('other', input => '{body}!')`);
    expect(await work()).toMatchObject({ embedded: 1, failing: [] });
    await as(owner, `select embedder.cutover('other'), embedder.recount('other')`);
    expect(
      (await as(owner, 'select source_rows, embedded_rows, generation, error from embedder.status')).rows,
    ).toEqual([{ source_rows: '1', embedded_rows: '1', generation: 2, error: null }]);
    expect(wrongKeys(await readVectors(database, target), vectors({ 3: 'c!' }))).toEqual([]);
    await as(owner, `select embedder.drop_pipeline('other', drop_target => true)`);
    expect(
      await one(`select to_regclass('doc_embedding') as t, (select count(*)::int from embedder.pipeline) as n,
      (select count(*)::int from information_schema.columns where table_name = 'doc') as columns`),
    ).toEqual({ t: null, n: 0, columns: 2 });
  });

  it('has a column filled that is there already', async () => {
    await as(
      owner,
      `alter table doc add column e vector(384); select embedder.create_pipeline('doc', 'body', index => 'none', target_column => 'e')`,
    );
    expect(await work()).toMatchObject({ embedded: 2, failing: [] });
    expect(
      wrongKeys(await readVectors(database, 'select id, e from doc'), vectors({ 1: 'a', 2: 'b' })),
    ).toEqual([]);
  });

  it('has it chunked, sees what fails, and has it tried again', async () => {
    await as(
      owner,
      `insert into doc values (3, 'bad'), (4, repeat('word and more. ', 40));
      select embedder.create_pipeline('doc', 'body', max_attempts => 1, index => 'none',
        chunking => '{"strategy": "recursive", "size": 16, "overlap": 0, "template": "{id}: {chunk}"}')`,
    );
    const embedder = new FakeEmbedder();
    embedder.fault = (text) => (text.includes('bad') ? new EngineError('not-finite', 'too bad') : undefined);
    await work(embedder);
    expect((await as(owner, 'select pipeline, row_key, error from embedder.failed_job')).rows).toEqual([
      { pipeline: 'doc', row_key: '3', error: expect.stringMatching(/too bad/) },
    ]);
    expect((await as(owner, `select embedder.retry_failed('doc') as n`)).rows).toEqual([{ n: '1' }]);
    await work();
    const { rows } = await as(
      owner,
      'select id, count(*) > 1 as many from doc_embedding group by id order by id',
    );
    expect(rows).toEqual([1, 2, 3, 4].map((id) => ({ id, many: id === 4 })));
    expect((await as(owner, 'select failed, error from embedder.status')).rows).toEqual([
      { failed: '0', error: null },
    ]);
  });

  it('is told the statement for the index, or a member of her role builds it', async () => {
    await as(owner, `select embedder.create_pipeline('doc', 'body')`);
    await work();
    const state = async () =>
      (await as(owner, 'select index_state as s from embedder.status')).rows[0]!.s as string;
    expect(await state()).toMatch(
      /^index could not be built: must be owner of table doc_embedding\. Let the worker's role be a member of the table's owner, or run: create index concurrently /,
    );
    expect((await one('select error from embedder.status'))!.error).toMatch(/^index could not be built/);
    await as(owner, (await state()).split('or run: ')[1]!);
    expect(await state()).toBe('built');
    await as(
      owner,
      `drop index ${(await one(`select indexrelid::regclass::text as i from pg_index join pg_class c on c.oid = indexrelid join pg_am a on a.oid = c.relam where amname = 'hnsw'`))!.i};
      select embedder.resume_pipeline('doc')`,
    );
    await database.query(`grant ${owner.name} to ${worker.name}`);
    try {
      await work();
    } finally {
      await database.query(`revoke ${owner.name} from ${worker.name}`);
    }
    expect(await state()).toBe('built');
  });
});

describe('the roles', () => {
  it('embedder_reader sees all and changes nothing, a stranger sees nothing', async () => {
    await as(owner, `select embedder.create_pipeline('doc', 'body', index => 'none')`);
    await database.query(
      `insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, '1', 5, 'secret' from embedder.pipeline`,
    );
    for (const view of ['status', 'failed_job'])
      expect(
        [
          (await as(reader, `select from embedder.${view}`)).rowCount,
          (await as(stranger, `select from embedder.${view}`)).rowCount,
        ],
        view,
      ).toEqual([1, 0]);
    for (const table of ['pipeline', 'job', 'dead_letter', 'tally', 'backfill_run', 'backfill_range'])
      expect(await reached(stranger, `select from embedder.${table}`), table).toBe(0);
    await expect(as(reader, `select embedder.pause_pipeline('doc')`)).rejects.toMatchObject(refused);
    expect((await as(reader, `update embedder.pipeline set paused = true`)).rowCount).toBe(0);
    await expect(as(reader, 'select from doc')).rejects.toMatchObject(refused);
    await expect(as(worker, 'select from doc')).rejects.toMatchObject(refused);
    await database.query(`grant select on doc to ${stranger.name}`);
    expect((await as(stranger, 'select from embedder.pipeline')).rowCount).toBe(1);
    expect((await as(stranger, 'update embedder.pipeline set paused = true')).rowCount).toBe(0);
  });

  it('embedder_admin manages a pipeline on somebody else’s table', async () => {
    await as(admin, `select embedder.create_pipeline('doc', 'body')`);
    await expect(as(admin, 'select from doc')).rejects.toMatchObject(refused);
    expect(await work()).toMatchObject({ embedded: 2, failing: [] });
    await as(admin, `select embedder.backfill('doc', force => true), embedder.recount('doc')`);
    expect(await work()).toMatchObject({ embedded: 2, failing: [] });
    expect(
      await one(`select (select relowner::regrole::text from pg_class where relname = 'doc_embedding') as sidecar,
      (select bool_and(proowner::regrole::text = '${owner.name}') from pg_proc where proname ~ '^pipeline_\\d' and prosecdef) as functions`),
    ).toEqual({ sidecar: owner.name, functions: true });
    await as(
      admin,
      `select embedder.alter_pipeline('doc', priority => 7), embedder.pause_pipeline('doc'), embedder.resume_pipeline('doc')`,
    );
    await as(admin, `select embedder.drop_pipeline('doc', drop_target => true)`);
    expect(
      await one(
        `select to_regclass('doc_embedding') as t, (select count(*)::int from embedder.pipeline) as n`,
      ),
    ).toEqual({ t: null, n: 0 });
  });
});

describe('somebody who does not own the table', () => {
  it.each([
    `select embedder.create_pipeline('doc', 'body', name => 'theirs')`,
    `select embedder.alter_pipeline('doc', priority => 3)`,
    `select embedder.drop_pipeline('doc')`,
    `select embedder.pause_pipeline('doc')`,
    `select embedder.resume_pipeline('doc')`,
    `select embedder.cutover('doc')`,
    `select embedder.drop_next_generation('doc')`,
    `select embedder.backfill('doc')`,
    `select embedder.retry_failed('doc')`,
    `select embedder.recount('doc')`,
    `select embedder.enqueue_embed('doc', 1)`,
    `insert into embedder.pipeline (name, source, key_columns, input, model, task, sidecar, index, priority, max_attempts)
      values ('forged', 'public.doc', '{id}', 'body', 'all-MiniLM-L6-v2', 'feature-extraction', true, 'none', 0, 5)`,
    `insert into embedder.job (pipeline_id, row_key) values (PIPELINE, '1')`,
    `insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) values (PIPELINE, '1', 1, 'forged')`,
    `insert into embedder.tally (pipeline_id, source_rows) values (PIPELINE, 100)`,
    'update embedder.job set attempts = 0',
    'delete from embedder.job',
    'delete from embedder.dead_letter',
    'delete from embedder.tally',
    `insert into embedder.pipeline_PIPELINE_job (row_key) values ('1')`,
    'delete from embedder.pipeline_PIPELINE_dead_letter',
    'select from embedder.pipeline_PIPELINE_tally',
    `insert into embedder.pipeline_PIPELINE_tally (missed) values ('x')`,
    `select embedder.pipeline_PIPELINE_enqueue('{1}')`,
    'select embedder.pipeline_PIPELINE_recount()',
    'select embedder.pipeline_PIPELINE_retry()',
    `select embedder.pipeline_PIPELINE_failed('insert', 'x')`,
    `insert into embedder.backfill_run (pipeline_id, force) values (PIPELINE, true)`,
    `insert into embedder.backfill_range (run_id, pipeline_id, place, rows_left) values (1, PIPELINE, 5, 1)`,
    `insert into embedder.worker_process (hostname, pid, version) values ('x', 1, '1')`,
    `insert into embedder.model (name, task) values ('x', 'y')`,
    `select embedder.pipeline_PIPELINE_complete(null, null, null, null, null)`,
    `select embedder.pipeline_PIPELINE_read('{1}', 100)`,
    `select embedder.pipeline_PIPELINE_forget('{1}')`,
    `select embedder.pipeline_PIPELINE_next(null, null, null, true, 10)`,
    `select embedder.pipeline_PIPELINE_act('drop table doc')`,
    `select embedder.pipeline_PIPELINE_ask('select to_jsonb(current_user)')`,
    `select embedder.claim_jobs(1, '{PIPELINE}', 10, '1 min')`,
    `select embedder.claim_backfill(1, '{PIPELINE}', 10, '1 min')`,
    `select embedder.set_pipeline_error(PIPELINE, 'x')`,
    `select embedder.set_index_error(PIPELINE, 'x')`,
    `select embedder.mark_filled()`,
    `select embedder.auto_cutover()`,
    `select embedder.follow_tables(PIPELINE)`,
    `select embedder.install(null)`,
    `select embedder.generate_functions(null)`,
    `select embedder.make_view(null)`,
    `select embedder.drop_view(null)`,
    `select embedder.drop_functions(PIPELINE)`,
    `select embedder.own_functions(null)`,
    `select embedder.make_sidecar(null)`,
    `select embedder.act_as_owner(null, 'select 1')`,
    `create function embedder.mine() returns int language sql as 'select 1'`,
    'drop trigger embedder_PIPELINE_inserted on public.doc',
    'select from public.doc_embedding',
    'select from public.doc_with_embedding',
  ])('may not: %s', async (statement) => {
    await as(owner, `select embedder.create_pipeline('doc', 'body', index => 'none')`);
    // Without this it would not even know that there is a pipeline.
    await expect(as(stranger, `select embedder.pause_pipeline('doc')`)).rejects.toMatchObject({
      code: '42704',
    });
    await as(owner, `grant select on doc to ${stranger.name}`);
    const { id } = (await one('select id from embedder.pipeline')) as { id: number };
    await expect(as(stranger, statement.replaceAll('PIPELINE', String(id)))).rejects.toMatchObject(refused);
    expect(
      await one(
        'select count(*)::int as n, bool_and(not paused and error is null and priority = 0) as same from embedder.pipeline',
      ),
    ).toEqual({ n: 1, same: true });
  });

  it('reaches nothing by updates and deletes either', async () => {
    await as(
      owner,
      `select embedder.create_pipeline('doc', 'body', index => 'none'); insert into doc values (3, 'c')`,
    );
    for (const statement of [
      'update embedder.pipeline set paused = true',
      'delete from embedder.pipeline',
      'delete from embedder.backfill_run',
      'delete from embedder.backfill_range',
    ])
      expect(await reached(stranger, statement), statement).toBe(0);
    expect(await jobCount(database)).toBe(2);
  });

  it('may not make a sidecar of hers where she could not, nor of what is somebody else’s', async () => {
    await as(
      stranger,
      `create table own (id int primary key, body text); create schema_ as (select 1)`,
    ).catch(() => {});
    await as(stranger, `create table if not exists own (id int primary key, body text)`);
    await database.query('create schema if not exists closed');
    await as(
      owner,
      `select embedder.create_pipeline('doc', 'body', index => 'none'); select embedder.drop_pipeline('doc')`,
    );
    for (const target of [
      'closed.stolen',
      'public.doc_embedding',
      'public.doc',
      'embedder.model',
      'pg_catalog.x',
    ]) {
      await expect(
        as(stranger, `select embedder.create_pipeline('own', 'body', target_table => '${target}')`),
        target,
      ).rejects.toMatchObject(refused);
    }
    expect(
      await one(`select relowner::regrole::text as o from pg_class where relname = 'doc_embedding'`),
    ).toEqual({ o: owner.name });
  });
});

describe('somebody who owns a table cannot', () => {
  beforeEach(async () => {
    await as(
      stranger,
      `create table own (id int primary key, body text); insert into own values (1, 'x');
      select embedder.create_pipeline('own', 'body', index => 'none')`,
    );
    await as(owner, `select embedder.create_pipeline('doc', 'body', index => 'none')`);
  });

  it.each([
    'target_table',
    'target_name',
    'source',
    'sidecar',
    'target_column',
    'members',
    'live',
    'generation',
    'filled_at',
    'fingerprint',
    'options',
    'dimensions',
  ])('write %s of its pipeline, and so not have somebody else’s table dropped', async (column) => {
    await expect(
      as(
        stranger,
        `update embedder.pipeline set ${column} = (select e.${column} from embedder.pipeline e limit 1) where name = 'own'`,
      ),
    ).rejects.toMatchObject(refused);
    await expect(
      as(
        stranger,
        `insert into embedder.pipeline (name, source, target_table, key_columns, input, model, task, sidecar, index, priority, max_attempts)
        values ('x', 'own', 'doc', '{id}', 'body', 'm', 'feature-extraction', true, 'none', 0, 5)`,
      ),
    ).rejects.toMatchObject(refused);
  });

  it('have somebody else’s table dropped, were it written there all the same', async () => {
    await database.query(`update embedder.pipeline set target_table = 'doc_embedding' where name = 'own'`);
    await as(stranger, `select embedder.drop_pipeline('own', drop_target => true)`);
    expect(await one(`select to_regclass('doc_embedding')::text as t`)).toEqual({ t: 'doc_embedding' });
    await database.query(`update embedder.pipeline set target_table = 'doc_embedding' where name = 'doc'`);
    await database.query(
      `create table kept (id int); update embedder.pipeline set target_table = 'kept' where name = 'doc'`,
    );
    await as(owner, `select embedder.drop_pipeline('doc', drop_target => true)`);
    expect(await one(`select to_regclass('kept')::text as t`)).toEqual({ t: 'kept' });
    await database.query('drop table kept');
  });

  it('slip in as the next generation of somebody else’s pipeline', async () => {
    const forge = `insert into embedder.pipeline (name, generation, live, source, key_columns, input, model, task, sidecar, index, priority, max_attempts, cutover, dimensions, target_name)
      values ('doc', 2, false, 'own', '{id}', 'body', 'all-MiniLM-L6-v2', 'feature-extraction', true, 'none', 0, 5, 'auto', 384, 'evil')`;
    await expect(as(stranger, forge)).rejects.toMatchObject({ code: '42710' });
    await expect(
      as(stranger, `update embedder.pipeline set name = 'doc' where name = 'own'`),
    ).rejects.toMatchObject({ code: '42710' });
    await work();
    expect(
      await one(`select source::text, embedded_rows from embedder.status where pipeline = 'doc'`),
    ).toEqual({ source: 'doc', embedded_rows: '2' });
  });

  it('put SQL into the statement with which a worker builds the index', async () => {
    for (const forged of [
      `index = 'hnsw', index_options = '{"m": "16); create table public.injected (); --"}'`,
      `index = 'hnsw', index_options = '{"m) ; create table public.injected (); --": "16"}'`,
      `index = 'hnsw (embedding vector_l2_ops); create table public.injected (); --'`,
    ])
      await expect(
        as(stranger, `update embedder.pipeline set ${forged} where name = 'own'`),
        forged,
      ).rejects.toMatchObject({ code: '22023' });
    // Were it there all the same: it is quoted.
    await database.query(`alter table embedder.pipeline disable trigger user;
      update embedder.pipeline set index = 'ivfflat', filled_at = now(), index_options = '{"lists": "16); create table public.injected (); --"}' where name = 'own';
      alter table embedder.pipeline enable trigger user`);
    await drain(database);
    expect(await one(`select to_regclass('injected') as t`)).toEqual({ t: null });
    expect((await one(`select index_state as s from embedder.status where pipeline = 'own'`))!.s).toMatch(
      /^index could not be built/,
    );
  });

  it('take over the view of a pipeline by its name, or by one that looks like it', async () => {
    const { id } = (await one(`select id from embedder.pipeline where name = 'doc'`)) as { id: number };
    const { f } = (await one(`select proname as f from pg_proc where proname ~ '^pipeline_${id}_rows_'`)) as {
      f: string;
    };
    for (let i = 0; i < 3; i++)
      await as(
        stranger,
        `create view look${i} as select * from embedder.${f}(); comment on view look${i} is 'Made by pgembedder: look'`,
      );
    expect(
      await one(`select embedder.view_of(p)::text as v from embedder.pipeline p where name = 'doc'`),
    ).toEqual({ v: 'doc_with_embedding' });
    const long = 'n'.repeat(48);
    await as(owner, `select embedder.alter_pipeline('doc', new_name => '${long}1')`);
    await as(stranger, `select embedder.alter_pipeline('own', new_name => '${long}2')`);
    expect(
      await one(
        `select relowner::regrole::text as o, to_regclass('doc_with_embedding') as before from pg_class where relname = embedder.made_name('${long}1', '_with_embedding')`,
      ),
    ).toEqual({ o: owner.name, before: null });
  });

  it('mark somebody else’s backfill as failed', async () => {
    const { run } = (await one(
      `select r.id as run from embedder.backfill_run r join embedder.pipeline p on p.id = r.pipeline_id where p.name = 'doc'`,
    )) as { run: string };
    await expect(
      as(
        stranger,
        `insert into embedder.backfill_range (run_id, pipeline_id, place, rows_left) select ${run}, id, -1, 1 from embedder.pipeline where name = 'own'`,
      ),
    ).rejects.toMatchObject(refused);
  });
});

describe('code of the table’s owner', () => {
  /** A function of hers that notes as whom it runs, and what that role may do. */
  const spy = (head: string, body: string) =>
    `create or replace function ${head} language plpgsql ${head.includes('trigger') ? '' : 'immutable'} as $s$ begin perform public.note(); ${body} end $s$`;
  beforeEach(() =>
    as(
      stranger,
      `create table noted (who text);
    create function note() returns void language plpgsql as $$ begin insert into public.noted values (current_user); end $$;
    grant all on noted to public`,
    ),
  );
  const noted = async () =>
    (await database.query<{ who: string }>('select distinct who from noted order by 1')).rows.map(
      ({ who }) => who,
    );

  it('in a filter, at every turn, runs with her rights', async () => {
    await as(
      stranger,
      `${spy('spy(t text) returns boolean', 'return t is not null;')}; create table own (id int primary key, body text, lang text);
      insert into own values (1, 'x', 'en'); truncate noted;
      select embedder.create_pipeline('own', 'body', filter => $f$public.spy(body) and lang = 'en' and public.spy('const')$f$)`,
    );
    await drain(database);
    await as(
      stranger,
      `select embedder.recount('own'), embedder.resume_pipeline('own'), embedder.enqueue_embed('own', 1)`,
    );
    await as(stranger, `alter table own rename column lang to tongue; alter table own add column more int`);
    await drain(database);
    await database.query(`select embedder.refresh_pipeline(id) from embedder.pipeline; insert into own values (2, 'y', 'en');
      update own set body = 'z'; delete from own where id = 1; select * from embedder.status; truncate own; insert into own values (7, 'y', 'en')`);
    await as(
      stranger,
      `select embedder.alter_pipeline('own', filter => $f$public.spy(body) and tongue <> 'de'$f$)`,
    );
    await database.query(`select embedder.alter_pipeline('own', input => '{body}!')`);
    await drain(database);
    await database.query(`select embedder.cutover('own'); select embedder.drop_pipeline('own', true)`);
    expect(await noted()).toEqual([stranger.name]);
  });

  it('in a cast of its key, a domain or a trigger of its sidecar runs with her rights', async () => {
    await as(
      stranger,
      `create type mood as enum ('a', 'b'); ${spy('spied(m mood) returns text', `return pg_catalog.textin(pg_catalog.enum_out(m));`)};
      create cast (mood as text) with function spied(mood);
      create table own (id mood primary key, body text); insert into own values ('a', 'x'), ('b', 'y'); select embedder.create_pipeline('own', 'body');
      ${spy('trace() returns trigger', 'return coalesce(new, old);')}; create trigger t before insert or update or delete on own_embedding for each row execute function trace();
      create trigger u before insert or update or delete on own for each row execute function trace()`,
    );
    await as(stranger, 'truncate noted');
    expect(await drain(database)).toMatchObject({ embedded: 2, failing: [] });
    await as(stranger, `select embedder.alter_pipeline('own', filter => $f$body <> 'y'$f$)`);
    expect(await drain(database)).toMatchObject({ embedded: 0, failing: [] });
    expect((await database.query('select from own_embedding')).rowCount).toBe(1);
    // Taken over by the next pipeline, with a row that is gone meanwhile.
    await as(
      stranger,
      `select embedder.drop_pipeline('own'); delete from own where id = 'a'; select embedder.create_pipeline('own', 'body')`,
    );
    await drain(database);
    expect((await database.query('select from own_embedding')).rowCount).toBe(1);
    await as(
      stranger,
      `${spy('check_it(v text) returns boolean', 'return true;')}; create domain word as text check (check_it(value));
      alter table own alter column id type word using 'w' operator(pg_catalog.||) body`,
    );
    await drain(database);
    expect(
      await one(
        `select format_type(atttypid, null) as type from pg_attribute where attrelid = 'own_embedding'::regclass and attname = 'id'`,
      ),
    ).toEqual({ type: 'word' });
    expect(await noted()).toEqual([stranger.name]);
  });

  it('does not run with the rights of who calls the pipeline’s functions, whatever she makes of them', async () => {
    await as(
      stranger,
      `${spy('spy(t text) returns boolean', 'return t is not null;')}; create table own (id int primary key, body text); insert into own values (1, 'x');
      select embedder.create_pipeline('own', 'body', filter => 'public.spy(body)')`,
    );
    const { rows } = await database.query<{ f: string }>(
      `select oid::regprocedure::text as f from pg_proc where proname ~ '^pipeline_\\d' and prosecdef and prorettype <> 'trigger'::regtype`,
    );
    expect(rows.length).toBeGreaterThan(8);
    for (const { f } of rows)
      await as(
        stranger,
        `alter function ${f} security invoker; alter function ${f} set search_path = public, pg_catalog`,
      );
    await as(stranger, 'truncate noted');
    await database.query(
      'insert into own values (2, $$y$$); update own set body = $$z$$; delete from own where id = 1',
    );
    await expect(database.query(`select embedder.recount('own')`)).rejects.toMatchObject(refused);
    await expect(database.query(`select embedder.enqueue_embed('own', 2)`)).rejects.toMatchObject(refused);
    await database.query('select * from embedder.status').catch(() => {});
    await drain(database).catch(() => {});
    expect((await noted()).filter((who) => who !== stranger.name)).toEqual([]);
    await database.query('select embedder.refresh_pipeline(id) from embedder.pipeline');
    expect(await drain(database)).toMatchObject({ failing: [] });
  });

  it('cannot have kept a door open when the table goes to somebody else', async () => {
    await as(
      stranger,
      `create table own (id int primary key, body text); insert into own values (1, 'x'); select embedder.create_pipeline('own', 'body')`,
    );
    const { rows } = await database.query<{ f: string }>(
      `select oid::regprocedure::text as f from pg_proc where proname ~ '^pipeline_\\d' and prosecdef`,
    );
    for (const { f } of rows) await as(stranger, `grant execute on function ${f} to public, ${reader.name}`);
    await database.query(`alter table own owner to ${owner.name}`);
    expect(await drain(database)).toMatchObject({ embedded: 1, failing: [] });
    const { id } = (await one('select id from embedder.pipeline')) as { id: number };
    for (const role of [stranger, reader])
      await expect(
        as(role, `select embedder.pipeline_${id}_act('create table public.theirs ()')`),
      ).rejects.toMatchObject(refused);
    expect(
      await one(`select (select relowner::regrole::text from pg_class where relname = 'own_embedding') as sidecar,
      (select relowner::regrole::text from pg_class where relname = 'own_with_embedding') as view,
      (select array_agg(distinct proowner::regrole::text) from pg_proc where proname ~ '^pipeline_\\d' and prosecdef) as functions`),
    ).toEqual({ sidecar: owner.name, view: owner.name, functions: [owner.name] });
    await as(owner, `insert into own values (2, 'y'); select embedder.alter_pipeline('own', priority => 2)`);
    expect(await work()).toMatchObject({ embedded: 1, failing: [] });
    await expect(as(stranger, `select embedder.pause_pipeline('own')`)).rejects.toMatchObject({
      code: '42704',
    });
  });
});

describe('names and search paths', () => {
  it('a search_path with fake functions, operators and tables changes nothing', async () => {
    await as(owner, `select embedder.create_pipeline('doc', 'body')`);
    await work();
    await database.query(`grant select, insert, update, delete on doc to ${stranger.name}`);
    await as(
      stranger,
      `create schema fake; create table fake.noted (who text); grant all on schema fake to public; grant all on fake.noted to public`,
    ).catch(() => {});
    await database.query(`create schema if not exists fake authorization ${stranger.name}`);
    await as(
      stranger,
      `create table if not exists fake.noted (who text); grant all on schema fake to public; grant all on fake.noted to public;
      create function fake.note() returns boolean language plpgsql as $$ begin insert into fake.noted values (current_user); return false; end $$;
      create function fake.now() returns timestamptz language sql as 'select fake.note(); select null::timestamptz';
      create function fake.pg_notify(text, text) returns void language sql as 'select fake.note()';
      create function fake.count(bigint) returns bigint language sql as 'select fake.note(); select 7::bigint';
      create function fake.concat(variadic text[]) returns text language sql as 'select fake.note(); select null::text';
      create function fake.eq(text, text) returns boolean language sql as 'select fake.note()';
      create function fake.ne(bigint, bigint) returns boolean language sql as 'select fake.note()';
      create function fake.ge(timestamptz, timestamptz) returns boolean language sql as 'select fake.note()';
      create function fake.minus(timestamptz, interval) returns timestamptz language sql as 'select fake.note(); select null::timestamptz';
      create operator fake.= (function = fake.eq, leftarg = text, rightarg = text);
      create operator fake.~ (function = fake.eq, leftarg = text, rightarg = text);
      create operator fake.<> (function = fake.ne, leftarg = bigint, rightarg = bigint);
      create operator fake.>= (function = fake.ge, leftarg = timestamptz, rightarg = timestamptz);
      create operator fake.- (function = fake.minus, leftarg = timestamptz, rightarg = interval);
      create domain fake.text as pg_catalog.text check (fake.note()); create table fake.new_rows (id int); create table fake.job (); create table fake.doc (id int primary key, body pg_catalog.text)`,
    );
    await as(
      stranger,
      `create temp table new_rows (id int); create temp table job (x int); create temp table pg_proc (oid oid); create temp table pg_class (oid oid);
      set search_path = fake, pg_temp, public, pg_catalog; truncate fake.noted;
      insert into public.doc values (3, 'c'), (4, 'd'); insert into public.doc values (3, 'cc') on conflict (id) do update set body = excluded.body;
      update public.doc set body = 'n' where id operator(pg_catalog.=) 1; delete from public.doc where id operator(pg_catalog.=) 2;
      create table public.own (id int primary key, body pg_catalog.text); insert into public.own values (1, 'x');
      select embedder.create_pipeline('public.own', '{body}!', target_column => 'e', filter => 'id operator(pg_catalog.>) 0');
      select embedder.pause_pipeline('own'); select embedder.alter_pipeline('own', priority => 2); select embedder.backfill('own'); select embedder.resume_pipeline('own'); select embedder.enqueue_embed('doc', '4'::pg_catalog.text);
      insert into public.own values (2, 'y'); update public.own set body = 'z'; delete from public.own where id operator(pg_catalog.=) 1`,
    );
    expect(await work()).toMatchObject({ failing: [] });
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from doc_embedding'),
        vectors({ 1: 'n', 3: 'cc', 4: 'd' }),
      ),
    ).toEqual([]);
    expect(wrongKeys(await readVectors(database, 'select id, e from own'), vectors({ 2: 'z!' }))).toEqual([]);
    // Her own functions may run as her, where she calls; as nobody else.
    const { rows } = await database.query<{ who: string }>('select distinct who from fake.noted');
    expect(rows.map(({ who }) => who).filter((who) => who !== stranger.name)).toEqual([]);
  });

  const odd = [
    `it's "quoted"`,
    'per%cent %s %I %1$s',
    '$$ dollar $f$ $1',
    'back\\slash \\n',
    '; drop table doc; --',
    '*/ /* select',
    'begin',
    'source',
    'k',
    't',
    'new_rows',
    '{',
    'x\nbegin',
  ];
  it.each(odd)('a table, column, pipeline and target of the name %j', async (name) => {
    const id = pg.escapeIdentifier(name);
    const text = pg.escapeLiteral(name);
    const input = pg.escapeLiteral(
      name.includes('{') ? 'body' : `${name.replaceAll('\\', '\\\\')} {body} {${name}}`,
    );
    await as(
      owner,
      `drop table if exists ${id} cascade; create table ${id} (${id} text, n int, body text, primary key (${id}, n)); insert into ${id} values (${text}, 1, 'a'), ('other', 1, 'b')`,
    );
    await as(
      owner,
      `select embedder.create_pipeline(${pg.escapeLiteral(id)}, 'body', name => ${text}, target_table => ${pg.escapeLiteral(pg.escapeIdentifier(`${name} side`))},
      filter => ${pg.escapeLiteral(`${id} <> ${pg.escapeLiteral(`${name}!`)} and body is not null`)}, index => 'none')`,
    );
    await as(
      owner,
      `select embedder.create_pipeline(${pg.escapeLiteral(id)}, ${input}, name => ${pg.escapeLiteral(`${name} 2`)}, target_column => ${pg.escapeLiteral(`${name} e`)}, index => 'none')`,
    );
    await as(
      owner,
      `select embedder.create_pipeline(${pg.escapeLiteral(id)}, 'body', name => ${pg.escapeLiteral(`${name} 3`)}, task => 'zero-shot-classification', model => 'nli',
      options => ${pg.escapeLiteral(JSON.stringify({ labels: [name, 'other'] }))}, index => 'none'); select embedder.drop_pipeline(${pg.escapeLiteral(`${name} 3`)}, true)`,
    );
    expect(await work()).toMatchObject({ failing: [] });
    await as(
      owner,
      `insert into ${id} values (${text}, 2, 'c'); update ${id} set body = 'z' where n = 1 and ${id} = ${text}; delete from ${id} where ${id} = 'other'`,
    );
    expect(await work()).toMatchObject({ failing: [] });
    const side = await readVectors(
      database,
      `select n, embedding from ${pg.escapeIdentifier(`${name} side`)}`,
    );
    expect(wrongKeys(side, vectors({ 1: 'z', 2: 'c' }))).toEqual([]);
    expect(
      (
        await as(
          owner,
          `select count(*)::int as n from ${id} where ${pg.escapeIdentifier(`${name} e`)} is not null`,
        )
      ).rows,
    ).toEqual([{ n: 2 }]);
    expect(
      (await as(owner, 'select pipeline, error from embedder.status order by pipeline collate "C"')).rows,
    ).toEqual([name, `${name} 2`].sort().map((pipeline) => ({ pipeline, error: null })));
    for (const each of [name, `${name} 2`])
      await as(owner, `select embedder.drop_pipeline(${pg.escapeLiteral(each)}, true)`);
    expect(await one(`select count(*)::int as n from doc`)).toEqual({ n: 2 });
    expect(await one(`select count(*)::int as n from pg_class where relname like '%side'`)).toEqual({ n: 0 });
  });

  it.each([
    ['filter', `true); drop table doc; --`],
    ['filter', 'true) or exists (select 1'],
    ['filter', `id > (select count(*) from pg_authid)`],
    ['filter', `body = '`],
    ['filter', '1'],
  ])('a %s with SQL in it is refused: %s', async (_, filter) => {
    await expect(
      as(owner, `select embedder.create_pipeline('doc', 'body', filter => ${pg.escapeLiteral(filter)})`),
    ).rejects.toMatchObject({ code: '22023' });
    expect(await one('select count(*)::int as n from doc')).toEqual({ n: 2 });
  });

  it.each([
    'true); drop table doc; select (true',
    'true) union select $$x$$ --',
    `exists (select from pg_authid)`,
  ])('a condition of a backfill runs with the rights of the owner at most: %s', async (condition) => {
    await as(owner, `select embedder.create_pipeline('doc', 'body', enqueue_existing => false)`);
    await as(owner, `select embedder.backfill('doc', ${pg.escapeLiteral(condition)})`).catch(() => {});
    await database.query(`insert into embedder.backfill_run (pipeline_id, condition) select id, ${pg.escapeLiteral(condition)} from embedder.pipeline;
      insert into embedder.backfill_range (run_id, pipeline_id, place, rows_left) select id, pipeline_id, 1, 1 from embedder.backfill_run on conflict do nothing`);
    // Neither it nor the worker's other pipelines may suffer from it.
    await as(
      stranger,
      `create table own (id int primary key, body text); insert into own values (1, 'x'); select embedder.create_pipeline('own', 'body')`,
    );
    await work();
    expect(
      await one(`select to_regclass('doc')::text as t, (select count(*)::int from own_embedding) as n`),
    ).toEqual({ t: 'doc', n: 1 });
    expect((await one(`select error from embedder.status where pipeline = 'doc'`))!.error).toMatch(
      /^its backfill stopped: /,
    );
  });

  it('a table that was dropped and made again is another one', async () => {
    await as(owner, `select embedder.create_pipeline('doc', 'body', index => 'none')`);
    await work();
    await as(owner, 'drop table doc cascade');
    await as(
      stranger,
      `create table doc (id int primary key, body text); insert into doc values (1, 'theirs'), (9, 'more')`,
    );
    await work();
    expect(await one('select count(*)::int as n from embedder.pipeline')).toEqual({ n: 0 });
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from doc_embedding'),
        vectors({ 1: 'a', 2: 'b' }),
      ),
    ).toEqual([]);
    await expect(as(stranger, `select embedder.create_pipeline('doc', 'body')`)).rejects.toMatchObject({
      ...refused,
      hint: 'Give another target_table.',
    });
    await as(
      stranger,
      `select embedder.create_pipeline('doc', 'body', target_table => 'doc_again', index => 'none')`,
    );
    expect(await work()).toMatchObject({ embedded: 2, failing: [] });
  });
});

it('a pipeline of a stranger’s is no reason to say that one is there already, whether its name can be seen or not', async () => {
  await as(owner, `select embedder.create_pipeline('doc', 'body', name => 'notes', index => 'none')`);
  await as(stranger, 'create table mine (id int primary key, body text)');
  const create = `select embedder.create_pipeline('mine', 'body', name => 'notes', index => 'none', if_not_exists => true)`;
  const refused = { code: '42710', message: 'pipeline "notes" exists already, of another table' };
  await expect(as(stranger, create)).rejects.toMatchObject(refused);
  await as(owner, `grant select on doc to ${stranger.name}`);
  await expect(as(stranger, create)).rejects.toMatchObject(refused);
  await as(stranger, create.replace(`'notes'`, `'mine'`));
  expect((await as(stranger, `select pipeline from embedder.status`)).rows).toEqual([{ pipeline: 'mine' }]);
});
