import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { createMigratedDatabase, drain, type MigratedDatabase, queued } from '../support/pgembedder.ts';

let database: MigratedDatabase;
beforeAll(async () => {
  database = await createMigratedDatabase();
  // Random, so that it cannot be compressed: the source's index just holds 2,690 bytes, and the queue's, with one column more, does not.
  await database.query(`create table keys as
    select i, left(string_agg(md5(random()::text), ''), 2690) as long from generate_series(1, 3) i, generate_series(1, 90) group by i`);
});
afterAll(() => database.drop());
afterEach(() =>
  database.query(
    `select embedder.drop_pipeline(name, true) from embedder.pipeline; drop table if exists doc`,
  ),
);

const q = (sql: string) => database.query(sql);
const long = (i: number) => `(select long from keys where i = ${i})`;
const letters = async () =>
  (
    await q(`select (select i from keys where left(long, 100) = left(row_key, 100) or position(left(long, 100) in row_key) > 0) as i, attempts, error
      from embedder.failed_job order by 1`)
  ).rows;
const dead = (...keys: number[]) =>
  keys.map((i) => ({
    i,
    attempts: 0,
    error: expect.stringMatching(
      /^its key has 2\d{3} bytes, more than an index entry holds: the row is not embedded$/,
    ),
  }));
const status = async () =>
  (
    await q(`select state, error, source_rows::int as rows, embedded_rows::int as vectors, stale_rows::int as stale, failed::int as failed
      from embedder.status`)
  ).rows[0];
const runs = async () => (await q('select from embedder.backfill_run')).rowCount;
/** Works until nothing is left, and sees that no backfill is begun for it. */
async function settle() {
  expect(await runs()).toBe(0);
  expect(await drain(database)).toMatchObject({ failing: [], dead: 0 });
  expect(await runs()).toBe(0);
}

describe.each([
  ['a sidecar', ''],
  ['a column', `, target_column => 'e'`],
  ['a sidecar and a filter', `, filter => 'n > 0'`],
])('a key that the queue’s index does not hold, with %s', (_, rest) => {
  const make = async () => {
    await q(`create table doc (id text primary key, body text, n int default 1);
      select embedder.create_pipeline('doc', 'body', index => 'none'${rest}); insert into doc values ('a', 'a')`);
    await drain(database);
  };

  it('does not keep the rows beside it from the queue, and is said once', async () => {
    await make();
    await q(
      `insert into doc (id, body) values ('b', 'b'), (${long(1)}, 'long'), (repeat('can be compressed', 1000), 'c')`,
    );
    expect(await letters()).toEqual(dead(1));
    await settle();
    expect(await status()).toEqual({ state: 'live', error: null, rows: 4, vectors: 3, stale: 0, failed: 1 });
    await q(`update doc set body = body || '!'; insert into doc (id, body) values (${long(2)}, 'long')`);
    expect(await queued(database, 'doc')).toHaveLength(3);
    expect(await letters()).toEqual(dead(1, 2));
    await settle();
    expect(await status()).toEqual({ state: 'live', error: null, rows: 5, vectors: 3, stale: 0, failed: 2 });
  });

  it('goes with its row, whatever becomes of that', async () => {
    await make();
    await q(`insert into doc (id, body) values (${long(1)}, '1'), (${long(2)}, '2'), (${long(3)}, '3')`);
    await q(`delete from doc where id = ${long(1)}; update doc set id = 'now short' where id = ${long(2)}`);
    expect(await letters()).toEqual(dead(3));
    await q(`update doc set id = ${long(1)} where id = 'a'`);
    expect(await letters()).toEqual(dead(1, 3));
    await q(`update embedder.tally set at = now() - interval '1 hour'`);
    await settle();
    expect(await status()).toMatchObject({ state: 'live', rows: 3, stale: 0, failed: 2 });
    await q('truncate doc');
    expect(await letters()).toEqual([]);
  });

  it('is found by a backfill, and a stale one; is not tried again; and cannot be queued', async () => {
    await make();
    await q(`set session_replication_role = replica; insert into doc (id, body) values ('b', 'b'), (${long(1)}, '1'), (${long(2)}, '2');
      set session_replication_role = origin`);
    await q(`select embedder.backfill('doc')`);
    expect(await drain(database)).toMatchObject({ failing: [], dead: 0 });
    expect(await letters()).toEqual(dead(1, 2));
    await q(`set session_replication_role = replica; delete from doc where id = ${long(2)}; set session_replication_role = origin;
      select embedder.backfill('doc', stale => true)`);
    expect(await drain(database)).toMatchObject({ failing: [], dead: 0 });
    expect(await letters()).toEqual(dead(1));
    expect((await q(`select embedder.retry_failed('doc')::int as rows`)).rows).toEqual([{ rows: 0 }]);
    expect((await q(`select enqueue_embed('doc', ${long(1)}) as queued`)).rows).toEqual([{ queued: false }]);
    await settle();
    expect(await letters()).toEqual(dead(1));
    expect(await status()).toMatchObject({ state: 'live', rows: 3, stale: 0, failed: 1 });
  });
});

it('a key of several columns, which is longer as text', async () => {
  await q(
    `create table doc (id int, long text, body text, primary key (id, long)); select embedder.create_pipeline('doc', 'body', index => 'none')`,
  );
  await drain(database);
  await q(`insert into doc values (1, 'a', 'a'), (2, left(${long(1)}, 2680), 'long')`);
  expect(await letters()).toEqual(dead(1));
  await settle();
  await q(`select embedder.backfill('doc', stale => true)`);
  expect(await drain(database)).toMatchObject({ failing: [], dead: 0 });
  expect(await letters()).toEqual(dead(1));
  expect(await status()).toEqual({ state: 'live', error: null, rows: 2, vectors: 1, stale: 0, failed: 1 });
});

it('a partitioned table, and a snapshot that is older', async () => {
  await q(`create table doc (id text primary key, body text) partition by hash (id);
    create table doc_part partition of doc for values with (modulus 1, remainder 0);
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
  await drain(database);
  await q(`insert into doc values ('a', 'a'), (${long(1)}, 'long')`);
  expect(await letters()).toEqual(dead(1));
  await q(`update doc set body = 'b'; update doc set id = ${long(2)} where id = 'a'`);
  expect(await letters()).toEqual(dead(1, 2));
  await q(`begin isolation level repeatable read; delete from doc where id = ${long(1)}; commit`);
  expect(await letters()).toEqual(dead(2));
  await settle();
});
