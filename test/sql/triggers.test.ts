import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase, queued, takeQueued } from '../support/pgembedder.ts';

let database: MigratedDatabase;
let server: number;

beforeAll(async () => {
  database = await createMigratedDatabase();
  const { rows } = await database.query<{ v: number }>(
    `select current_setting('server_version_num')::int as v`,
  );
  server = rows[0]!.v;
  await database.query(`
    create table author (id int primary key);
    insert into author values (1), (2);
    create table doc (id int primary key, title text, body text, clicks int not null default 0,
      author int references author on delete cascade);
    create table arriving (id int, title text, body text);
    select embedder.create_pipeline('doc', '{title} {body}', name => 'both');
    select embedder.create_pipeline('doc', 'title', name => 'title', target_column => 'title_embedding')`);
});
afterAll(() => database.drop());

beforeEach(async () => {
  await database.query(`truncate doc; insert into author values (1), (2) on conflict do nothing; insert into doc (id, title, body, author)
      values (1, 'a', 'x', 1), (2, 'b', 'y', 1), (3, 'c', 'z', 2);
    update doc set title_embedding = array_fill(0.5, array[384])::vector;
    insert into both_embedding (id, embedding, model) select id, array_fill(0.5, array[384])::vector, 'all-MiniLM-L6-v2' from doc;
    delete from embedder.job; delete from embedder.dead_letter`);
});

const taken = async () => [await takeQueued(database, 'both'), await takeQueued(database, 'title')];
const sidecar = async () =>
  (await database.query<{ id: number }>('select id from both_embedding order by id')).rows.map(
    (row) => row.id,
  );

describe('what each statement queues, for the pipeline on {title} {body} and the one on title', () => {
  it.each<[statement: string, both: string[], title: string[], sidecar: number[]]>([
    [`insert into doc (id, title) values (4, 'd'), (5, null)`, ['4', '5'], ['4', '5'], [1, 2, 3]],
    [`insert into doc (id) select 9 where false`, [], [], [1, 2, 3]],
    [`update doc set title = 'n' where id = 2`, ['2'], ['2'], [1, 2, 3]],
    [`update doc set title = 'n'`, ['1', '2', '3'], ['1', '2', '3'], [1, 2, 3]],
    [`update doc set body = 'n' where id < 3`, ['1', '2'], [], [1, 2, 3]],
    [`update doc set body = null where id = 1`, ['1'], [], [1, 2, 3]],
    [`update doc set body = body, title = title`, [], [], [1, 2, 3]],
    [`update doc set clicks = clicks + 1`, [], [], [1, 2, 3]],
    // Somebody has taken vectors away: they are to come back.
    [`update doc set title_embedding = null`, [], ['1', '2', '3'], [1, 2, 3]],
    [`update doc set title = 'b' where id in (1, 2)`, ['1'], ['1'], [1, 2, 3]],
    [`update doc set id = 7 where id = 1`, ['7'], ['7'], [2, 3]],
    [`update doc set id = id + 10`, ['11', '12', '13'], ['11', '12', '13'], []],
    [`update doc set id = 4, title = 'q' where id = 3`, ['4'], ['4'], [1, 2]],
    [`delete from doc where id = 2`, [], [], [1, 3]],
    [`delete from doc`, [], [], []],
    [`truncate doc`, [], [], []],
    [`delete from author where id = 1`, [], [], [3]],
    [
      `insert into doc (id, title) values (3, 'up'), (4, 'new') on conflict (id) do update set title = excluded.title`,
      ['3', '4'],
      ['3', '4'],
      [1, 2, 3],
    ],
    [
      `insert into doc (id, title) values (3, 'c') on conflict (id) do update set title = excluded.title`,
      [],
      [],
      [1, 2, 3],
    ],
    [
      `insert into doc (id, title) values (3, 'up'), (4, 'new') on conflict do nothing`,
      ['4'],
      ['4'],
      [1, 2, 3],
    ],
    [
      `with gone as (delete from doc where id = 1), up as (update doc set title = 'n' where id = 2) insert into doc (id) values (8)`,
      ['2', '8'],
      ['2', '8'],
      [2, 3],
    ],
    [
      `insert into doc (id, title) values (4, 'd'); update doc set title = 'e' where id = 4; delete from doc where id = 4`,
      [],
      [],
      [1, 2, 3],
    ],
    [
      `delete from doc where id = 1; insert into doc (id, title, body) values (1, 'a', 'x')`,
      ['1'],
      ['1'],
      [2, 3],
    ],
  ])('%s', async (statement, both, title, left) => {
    await database.query(statement);
    expect(await taken()).toEqual([both, title]);
    expect(await sidecar()).toEqual(left);
  });

  it('a swap of keys', async () => {
    await database.query(
      `alter table doc drop constraint doc_pkey, add primary key (id) deferrable initially immediate`,
    );
    await database.query(`begin; set constraints all deferred; update doc set id = 4 - id; commit`);
    expect(await taken()).toEqual([
      ['1', '3'],
      ['1', '3'],
    ]);
    await database.query(`alter table doc drop constraint doc_pkey, add primary key (id)`);
  });

  it('keys that are double for a moment, in a deferrable key', async () => {
    await database.query(`alter table doc drop constraint doc_pkey, add primary key (id) deferrable initially deferred;
      select embedder.resume_pipeline('both'), embedder.resume_pipeline('title')`);
    await database.query(`begin; insert into doc (id, title) values (5, 'v'), (5, 'w'); update doc set title = title || '!' where id = 5;
      delete from doc where title = 'v!'; commit`);
    expect(await taken()).toEqual([['5'], ['5']]);
    const { rows } = await database.query('select title from doc where id = 5');
    expect(rows).toEqual([{ title: 'w!' }]);
    await database.query(`alter table doc drop constraint doc_pkey, add primary key (id);
      select embedder.resume_pipeline('both'), embedder.resume_pipeline('title')`);
  });

  it('MERGE', async () => {
    if (server < 150_000) return;
    await database.query(
      `insert into arriving values (1, 'a', 'x'), (2, 'new', 'y'), (3, null, null), (4, 'd', 'd')`,
    );
    await database.query(`merge into doc using arriving a on a.id = doc.id
      when matched and a.title is null then delete
      when matched then update set title = a.title
      when not matched then insert (id, title, body) values (a.id, a.title, a.body)`);
    expect(await taken()).toEqual([
      ['2', '4'],
      ['2', '4'],
    ]);
    expect(await sidecar()).toEqual([1, 2]);
  });

  it('COPY', async () => {
    // COPY FROM PROGRAM: the server itself reads, so that no client code stands between.
    await database.query(String.raw`copy doc (id, title) from program 'printf "10\tten\n11\televen\n"'`);
    expect(await taken()).toEqual([
      ['10', '11'],
      ['10', '11'],
    ]);
  });

  it('a transaction that is rolled back: nothing', async () => {
    await database.query(
      `begin; insert into doc (id) values (4); update doc set title = 'n'; delete from doc where id = 1; rollback`,
    );
    expect(await taken()).toEqual([[], []]);
    expect(await sidecar()).toEqual([1, 2, 3]);
  });
});

describe('the job', () => {
  const job = async () =>
    (
      await database.query<{
        version: string;
        attempts: number;
        leased_by: number | null;
        due: boolean;
        last_error: string | null;
      }>(
        `select version::text, attempts, leased_by, due_at <= now() as due, last_error from embedder.job
         where pipeline_id = (select id from embedder.pipeline where name = 'both')`,
      )
    ).rows;

  it('of ten updates is one', async () => {
    for (let i = 0; i < 10; i++) await database.query(`update doc set title = $1 where id = 1`, [`t${i}`]);
    expect(await queued(database, 'both')).toEqual(['1']);
    expect(await queued(database, 'title')).toEqual(['1']);
  });

  it('of a row that changes again is new: due, unleased, with all attempts, and of another version', async () => {
    await database.query(`update doc set title = 'n' where id = 1`);
    const [before] = await job();
    await database.query(
      `update embedder.job set attempts = 3, leased_by = 7, due_at = now() + interval '1 hour', last_error = 'e'`,
    );
    await database.query(`update doc set title = 'm' where id = 1`);
    const after = await job();
    expect(after).toEqual([
      { version: expect.any(String), attempts: 0, leased_by: null, due: true, last_error: null },
    ]);
    expect(after[0]!.version).not.toBe(before!.version);
  });

  it('goes with its row, and so does the dead letter', async () => {
    await database.query(`update doc set title = 'n'`);
    await database.query(`insert into embedder.dead_letter (pipeline_id, row_key, attempts, error)
      select id, unnest(array['1', '2', '3']), 5, 'e' from embedder.pipeline`);
    const letters = async () =>
      (
        await database.query<{ key: string }>(
          `select row_key as key from embedder.failed_job where pipeline = 'both' order by 1`,
        )
      ).rows.map((row) => row.key);
    await database.query(`delete from doc where id = 2`);
    expect(await queued(database, 'both')).toEqual(['1', '3']);
    expect(await letters()).toEqual(['1', '3']);
    await database.query(`update doc set id = 4 where id = 3`);
    expect(await queued(database, 'both')).toEqual(['1', '4']);
    expect(await letters()).toEqual(['1']);
    await database.query(`truncate doc`);
    expect(await queued(database, 'both')).toEqual([]);
    expect(await letters()).toEqual([]);
  });
});

describe('many rows', () => {
  // PostgreSQL keeps the plan of the first update of a session; one that loops over old and new rows would take minutes.
  it('20,000 updated, deleted and moved in a session that began with one', async () => {
    await database.query(
      `insert into doc (id, title, body) select i, 't', 'b' from generate_series(11, 20000) i`,
    );
    await database.query('delete from embedder.job');
    const client = await database.pool.connect();
    try {
      await client.query(`set statement_timeout = '60s'`);
      for (let i = 0; i < 7; i++) await client.query(`update doc set title = title || '!' where id = 11`);
      await client.query(`update doc set title = title || '?', body = 'c'`);
      expect((await queued(database, 'both')).length).toBe(19_993);
      expect((await queued(database, 'title')).length).toBe(19_993);
      await client.query('delete from embedder.job');
      await client.query(`update doc set id = id + 1000000 where id > 17000`);
      expect((await queued(database, 'both')).length).toBe(3_000);
      await client.query(`delete from doc where id = 11`);
      await client.query(`delete from doc`);
      expect(await queued(database, 'both')).toEqual([]);
    } finally {
      client.release(true);
    }
  });
});

describe("names in a user's schema", () => {
  it('do not stand in for the system’s own', async () => {
    // A function and an operator that would match better than those of pg_catalog, first on the path of everybody.
    await database.query(`create schema trap;
      create function trap.concat(text, text) returns text language sql immutable as $$ select 'trapped' $$;
      create function trap.same(text, text) returns boolean language sql immutable as $$ select true $$;
      create operator trap.= (leftarg = text, rightarg = text, function = trap.same);
      create function trap.now() returns timestamptz language sql as $$ select 'infinity'::timestamptz $$;
      create function trap.never(timestamptz, timestamptz) returns boolean language sql immutable as $$ select false $$;
      create operator trap.> (leftarg = timestamptz, rightarg = timestamptz, function = trap.never);
      create function trap.pg_notify(text, text) returns void language plpgsql as $$ begin raise 'trapped'; end $$;
      create domain trap.text as int check (false);
      insert into embedder.worker_process (hostname, pid, version, listening, idle) values ('h', 1, '0', true, true);
      select setval('embedder.asleep', 1);
      create table trap.unnest (id int);
      create domain trap.int8 as text check (false)`);
    const client = await database.pool.connect();
    try {
      await client.query(`set search_path = trap, pg_catalog, public, embedder`);
      await client.query(`update public.doc set title = 'n' where id operator(pg_catalog.=) 1`);
      await client.query(`insert into public.doc (id, title) values (8, 'n'), (9, 'm')`);
      await client.query(`update public.doc set id = 5 where id operator(pg_catalog.=) 2`);
      await client.query(`delete from public.doc where id operator(pg_catalog.=) 3`);
      await client.query(`select enqueue_embed('both', 5)`);
    } finally {
      client.release(true);
    }
    expect(await taken()).toEqual([
      ['1', '5', '8', '9'],
      ['1', '5', '8', '9'],
    ]);
    expect(await sidecar()).toEqual([1]);
    const { rows } = await database.query(
      'select embedder.missed_by(p) as trigger_error from embedder.pipeline p',
    );
    expect(rows).toEqual([{ trigger_error: null }, { trigger_error: null }]);
    await database.query('drop schema trap cascade');
  });
});
