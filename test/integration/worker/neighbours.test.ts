import { once } from 'node:events';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
afterEach(async () => {
  await database.query(`select embedder.drop_pipeline(name, true) from embedder.pipeline`);
  await database.query(`drop table if exists bad, good`);
});

/** Two tables with a pipeline each; `bad` first, so that it has its turn first. */
async function declare(bad: string, more = ''): Promise<void> {
  await database.query(`create table bad (id text primary key, body text); create table good (id int primary key, body text);
    insert into bad select i, 'bad ' || i from generate_series(1, 50) i;
    insert into good select i, 'good ' || i from generate_series(1, 50) i`);
  await database.query(bad);
  await database.query(`select embedder.create_pipeline('good', 'body', index => 'none'${more})`);
}

const rowsOf = async (table: string) => (await database.query(`select from ${table}_embedding`)).rowCount!;
const errorOf = async (pipeline: string) =>
  (
    await database.query<{ error: string | null }>('select error from embedder.status where pipeline = $1', [
      pipeline,
    ])
  ).rows[0]!.error;

describe('another pipeline is served', () => {
  it('while one’s filter never ends', async () => {
    const filter = (body: string) =>
      database.query(`create or replace function endless(text) returns boolean language plpgsql immutable as
        'begin ${body} return true; end'`);
    await filter('');
    await declare(
      `select embedder.create_pipeline('bad', 'body', filter => 'public.endless(body)', index => 'none')`,
    );
    await filter('perform pg_sleep(1000);');
    const worker = workerOn(database, { embedder: new FakeEmbedder(), stopSeconds: 3 });
    await worker.start();
    await pollUntil(async () => (await rowsOf('good')) === 50, { what: 'the rows of the other' });
    await database.query(`insert into good values (51, 'new')`);
    await pollUntil(async () => (await rowsOf('good')) === 51, { what: 'a new row of the other' });
    await worker.stop();
    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like '%claim_backfill%' and pid <> pg_backend_pid()`,
    );
  });

  it('while a trigger on one’s sidecar never ends', async () => {
    await declare(`select embedder.create_pipeline('bad', 'body', index => 'none')`);
    await database.query(`create or replace function sleep() returns trigger language plpgsql as 'begin perform pg_sleep(1000); return null; end';
      create trigger sleep after insert on bad_embedding for each statement execute function sleep()`);
    const worker = workerOn(database, { embedder: new FakeEmbedder(), window: 10, stopSeconds: 3 });
    await worker.start();
    await pollUntil(async () => (await rowsOf('good')) === 50, { what: 'the rows of the other' });
    await worker.stop();
    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query like '%complete%' and pid <> pg_backend_pid()`,
    );
  });

  it('while one’s target is locked; what was embedded is kept until it is free', async () => {
    await declare(`select embedder.create_pipeline('bad', 'body', index => 'none')`);
    const holder = await database.pool.connect();
    await holder.query('begin; lock table bad_embedding in share mode');
    const embedder = new FakeEmbedder();
    const worker = workerOn(database, { embedder });
    try {
      await worker.start();
      await pollUntil(async () => (await rowsOf('good')) === 50);
      await pollUntil(async () => /is locked by another session/.test((await errorOf('bad')) ?? ''), {
        what: 'the word in status',
      });
      await holder.query('rollback');
      await pollUntil(async () => (await rowsOf('bad')) === 50, { what: 'the rows that waited' });
      await pollUntil(async () => (await errorOf('bad')) === null);
      expect(embedder.calls.flat().filter((text) => text.startsWith('bad'))).toHaveLength(50);
    } finally {
      holder.release();
      await worker.stop();
    }
  });

  it('while a key of one is too long for the queue, which is told of that row alone', async () => {
    // Random, so that it cannot be compressed: the source's index just holds it, and the queue's, with one column more, does not.
    await database.query(`create table bad (id text not null, body text); create table good (id int primary key, body text);
      insert into good values (1, 'good'); insert into bad select i, 'bad ' || i from generate_series(1, 20) i;
      insert into bad select string_agg(md5(random()::text), '') || 'xy', 'long' from generate_series(1, 84) i`);
    await database.query(`alter table bad add primary key (id)`);
    await database.query(`select embedder.create_pipeline('bad', 'body', index => 'none');
      select embedder.create_pipeline('good', 'body', index => 'none')`);
    const result = await drain(database);
    expect(result).toMatchObject({ embedded: 21, failing: [] });
    const { rows } = await database.query('select pipeline, error from embedder.failed_job');
    expect(rows).toEqual([
      {
        pipeline: 'bad',
        error: expect.stringMatching(/^its key has 2690 bytes, more than an index entry holds/),
      },
    ]);
  });
});

describe('an index', () => {
  let holder: pg.PoolClient | undefined;
  afterEach(async () => {
    await holder?.query('rollback');
    holder?.release();
    holder = undefined;
  });
  const builds = (what: string) =>
    `select pid from pg_stat_activity where query like '%create index concurrently%${what}%' and pid <> pg_backend_pid() and datname = current_database() and state = 'active'`;

  it('whose build somebody cancels is said, and built again', async () => {
    await declare(`select embedder.create_pipeline('bad', 'body')`);
    holder = await database.pool.connect();
    await holder.query('begin; lock table bad_embedding in row exclusive mode');
    const worker = workerOn(database, { embedder: new FakeEmbedder() });
    const drained = worker.drain();
    await pollUntil(async () => (await database.query(builds('bad'))).rowCount === 1, { what: 'a build' });
    await database.query(`select pg_cancel_backend(pid) from (${builds('bad')}) b`);
    await drained;
    expect(await errorOf('bad')).toMatch(
      /^index could not be built: canceling statement due to user request/,
    );
    await holder.query('rollback');
    await drain(database);
    expect((await errorOf('bad'))!).toMatch(/canceling/); // Not before its time.
    await database.query('update embedder.pipeline set index_retry_at = now()');
    await drain(database);
    const { rows } = await database.query(
      `select error, index_state from embedder.status where pipeline = 'bad'`,
    );
    expect(rows).toEqual([{ error: null, index_state: 'built' }]);
    const { rows: left } = await database.query(
      `select from pg_index where indrelid = 'bad_embedding'::regclass and not indisvalid`,
    );
    expect(left).toEqual([]);
  });

  it('that waits for an open transaction keeps neither tables from being followed nor another index from being built', async () => {
    await declare(`select embedder.create_pipeline('bad', 'body')`);
    holder = await database.pool.connect();
    await holder.query('begin; lock table bad_embedding in row exclusive mode');
    const worker = workerOn(database, { embedder: new FakeEmbedder(), stopSeconds: 5 });
    try {
      await worker.start();
      await pollUntil(async () => (await database.query(builds('bad'))).rowCount === 1, {
        what: 'a build that waits',
      });
      await pollUntil(async () => {
        const { rows } = await database.query<{ state: string }>(
          `select index_state as state from embedder.status where pipeline = 'bad'`,
        );
        return /waits for session \d+/.test(rows[0]!.state);
      });
      const followed = pollUntil(
        async () =>
          (await database.query(`select from embedder.pipeline where name = 'good' and input = 'content'`))
            .rowCount === 1,
        { what: 'the new name of a column' },
      );
      await database.query(`alter table good rename column body to content`);
      await followed;
      const indexed = once(worker.events, 'indexed');
      await database.query(`select embedder.alter_pipeline('good', index => 'hnsw')`);
      expect(await indexed).toEqual([{ pipeline: 'good' }]);
    } finally {
      await worker.stop();
    }
  });
});
