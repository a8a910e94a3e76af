import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createMigratedDatabase, drain, type MigratedDatabase } from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;
let client: pg.Client;

beforeAll(async () => {
  database = await createMigratedDatabase();
  owner = await createRole();
  await database.query(`grant create on schema public to ${owner.name}`);
  client = new pg.Client({ connectionString: database.urlAs(owner) });
  await client.connect();
  await client.query(`create table doc (id int primary key, body text)`);
});
afterAll(async () => {
  await client.end();
  await database.drop();
  await owner.drop();
});
beforeEach(async () => {
  await database.query(`delete from embedder.pipeline; drop table if exists doc_embedding; truncate doc`);
  await client.query(
    `insert into doc values (1, 'a'), (2, 'b'); select embedder.create_pipeline('doc', 'body', index => 'none')`,
  );
});

const id = async () => (await database.query<{ id: number }>('select id from embedder.pipeline')).rows[0]!.id;
const versions = async () =>
  (
    await database.query<{ v: number }>('select version::float8 as v from embedder.job order by row_key')
  ).rows.map((row) => row.v);
const status = async () =>
  (
    await database.query(
      'select source_rows::int, embedded_rows::int, pending::int, failed::int, error from embedder.status',
    )
  ).rows[0];

describe('the version of a job', () => {
  it('is a new one each time the row is asked for, also within one transaction', async () => {
    await drain(database);
    await client.query('begin');
    await client.query(`update doc set body = 'n'`);
    await client.query('commit');
    const first = await versions();
    expect(new Set(first).size).toBe(2);
    // Formerly the transaction's number, which a crash or a failover gives out again.
    await client.query(`begin; update doc set body = 'm'; savepoint s; update doc set body = 'o'`);
    const read = await client.query<{ v: number }>(
      `select version::float8 as v from embedder.pipeline_${await id()}_job order by row_key`,
    );
    await client.query(`update doc set body = 'p'; commit`);
    const all = [...first, ...read.rows.map((row) => row.v), ...(await versions())];
    expect(new Set(all).size).toBe(6);
    expect(all.every((version) => Number.isSafeInteger(version) && version > 0)).toBe(true);
  });

  it('does not come again when a session sets the seed of its random numbers', async () => {
    await client.query(`select setseed(0.5)`);
    await client.query(`update doc set body = 'n' where id = 1`);
    const first = await versions();
    await client.query(`select setseed(0.5)`);
    await client.query(`update doc set body = 'm' where id = 1`);
    expect(await versions()).not.toEqual(first);
  });

  it('that a crash has undone is not that of the job made anew: the old vector is not written', async () => {
    await client.query(`update doc set body = 'A' where id = 1`);
    const { rows } = await database.query<{ row_key: string; version: string }>(
      `select row_key, version::text from embedder.claim_jobs(1, array[$1::int], 1, '1 min')`,
      [await id()],
    );
    // What the crash takes back; then the same transaction number asks for the row again.
    await database.query(`delete from embedder.job where row_key = '1'`);
    await client.query(`update doc set body = 'B' where id = 1`);
    const done = await database.query(
      `select embedder.pipeline_${await id()}_complete($1::text[], $2::bigint[], 'm', array[null::uuid], array[array_fill(0.5, array[384])::vector])`,
      [[rows[0]!.row_key], [rows[0]!.version]],
    );
    expect(done.rows).toEqual([]);
  });
});

describe('the books of a pipeline, whose owner is nobody special', () => {
  it('are kept where the session has switched row level security off, as the scripts of pg_dump do', async () => {
    await client.query('set row_security = off');
    await client.query(
      `insert into doc values (3, 'c'); update doc set body = 'n' where id = 1; delete from doc where id = 2`,
    );
    await client.query(`alter table doc rename id to key; insert into doc values (4, 'd')`);
    await client.query('alter table doc rename key to id; reset row_security');
    const { rows } = await database.query(
      `select array_agg(row_key order by row_key) as keys, (select embedder.missed_by(p) from embedder.pipeline p) as error from embedder.job`,
    );
    expect(rows).toEqual([{ keys: ['1', '3'], error: expect.stringMatching(/^its insert trigger failed/) }]);
  });

  it('show their owner nothing of other pipelines, and take nothing for them', async () => {
    await database.query(`create table other (id int primary key, body text);
      select embedder.create_pipeline('other', 'body', index => 'none'); insert into other values (1, 'x')`);
    const mine = (await database.query<{ id: number }>(`select id from embedder.pipeline where name = 'doc'`))
      .rows[0]!.id;
    await expect(
      client.query(
        `insert into embedder.pipeline_${mine}_job (pipeline_id, row_key) values (${mine + 1}, '1')`,
      ),
    ).rejects.toMatchObject({ code: '42501' });
    await expect(client.query(`select from embedder.pipeline_${mine + 1}_job`)).rejects.toMatchObject({
      code: '42501',
    });
    await expect(
      client.query(`insert into embedder.job (pipeline_id, row_key) values (${mine}, '1')`),
    ).rejects.toMatchObject({ code: '42501' });
    await expect(
      client.query(
        `insert into embedder.pipeline_${mine}_job (pipeline_id, row_key, attempts) values (${mine}, '1', 32767)`,
      ),
    ).rejects.toMatchObject({ code: '42501' });
  });

  it('may hold what they like, and stop nobody', async () => {
    await drain(database);
    await client.query(`insert into doc values (3, 'c'), (4, 'd')`);
    const mine = await id();
    await client.query(`update embedder.pipeline_${mine}_job set attempts = 32767 where row_key = '3'`);
    await client.query(
      `update embedder.pipeline_${mine}_job set attempts = -32768, due_at = '-infinity' where row_key = '4'`,
    );
    await client.query(`insert into embedder.pipeline_${mine}_tally (source_rows, embedded_rows, done)
      select 9223372036854775807, 9223372036854775807, 9223372036854775807 from generate_series(1, 2)`);
    await database.query(`update embedder.tally set at = now() - interval '1 hour'`);
    await database.query('select * from embedder.status, embedder.queue_metrics()');
    await database.query('select embedder.fold_tally(); select * from embedder.missing_indexes()');
    const { rows } = await database.query(
      `select row_key, attempts from embedder.claim_jobs(1, array[$1::int], 10, '1 min') order by 1`,
      [mine],
    );
    expect(rows).toEqual([
      { row_key: '3', attempts: 30001 },
      { row_key: '4', attempts: 1 },
    ]);
    await client.query(`select embedder.recount('doc')`);
    expect(await status()).toMatchObject({ source_rows: 4, embedded_rows: 2 });
  });

  it('bring back dead letters, also those of the next generation', async () => {
    await client.query(`select embedder.alter_pipeline('doc', input => '{body}!')`);
    await database.query(
      `insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, '1', 5, 'e' from embedder.pipeline`,
    );
    expect((await client.query(`select embedder.retry_failed('doc')::int as n`)).rows).toEqual([{ n: 2 }]);
    expect((await database.query(`select row_key from embedder.job`)).rows).toEqual([
      { row_key: '1' },
      { row_key: '1' },
    ]);
  });

  it('go with the pipeline', async () => {
    await client.query(`select embedder.drop_pipeline('doc')`);
    const { rows } = await database.query(
      `select relname from pg_class where relnamespace = 'embedder'::regnamespace and relname like 'pipeline\\_%\\_job'`,
    );
    expect(rows).toEqual([]);
  });
});

describe('a completion', () => {
  it('counts again where a trigger of the user’s has moved or deleted a row as it came', async () => {
    await drain(database);
    await client.query(`create or replace function as_it_comes() returns trigger language plpgsql as $$ begin
        if new.id between 10 and 19 then update doc set id = new.id + 100 where id = new.id; end if;
        if new.id between 20 and 29 then delete from doc where id = new.id; end if;
        return null; end $$;
      create trigger as_it_comes after insert on doc for each row execute function as_it_comes()`);
    try {
      await client.query(`insert into doc values (3, 'c'), (10, 'x'), (11, 'y'), (20, 'z')`);
    } finally {
      await client.query('drop trigger as_it_comes on doc');
    }
    await drain(database);
    await database.query('select embedder.fold_tally()');
    expect(await status()).toEqual({ source_rows: 5, embedded_rows: 5, pending: 0, failed: 0, error: null });
  });

  it('that finds a new row gone counts it neither as a row nor as a vector', async () => {
    await drain(database);
    await client.query(`insert into doc values (3, 'c')`);
    await database.query(
      `begin; set local session_replication_role = replica; delete from doc where id = 3; commit`,
    );
    await drain(database);
    expect(await status()).toEqual({ source_rows: 2, embedded_rows: 2, pending: 0, failed: 0, error: null });
  });
});
