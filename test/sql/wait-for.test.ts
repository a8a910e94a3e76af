import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { waitFor } from '../../src/pipelines/wait-for.ts';
import type { Worker } from '../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';
import { createRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let embedder: FakeEmbedder;
let worker: Worker;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  embedder = new FakeEmbedder();
  worker = workerOn(database, { embedder });
  await database.query(`create table doc (id int primary key, body text); insert into doc select n, 'text ' || n from generate_series(1, 20) n;
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
});
afterEach(async () => {
  embedder.release();
  await worker.stop();
  await database.query(
    `select embedder.drop_pipeline('doc'); drop table doc cascade; drop table if exists doc_embedding`,
  );
});

const waited = async (...rest: string[]) =>
  (
    await database.query<{ done: boolean }>(
      `select embedder.wait_for(${["'doc'", ...rest].join(', ')}) as done`,
    )
  ).rows[0]!.done;
const vectors = async () =>
  Number((await database.query<{ n: string }>('select count(*) as n from doc_embedding')).rows[0]!.n);

it('waits for a backfill and for what it finds, for new rows, and for one row', async () => {
  await worker.start();
  expect(await waited()).toBe(true);
  expect(await vectors()).toBe(20);
  await database.query(`insert into doc values (21, 'new'), (22, '')`);
  expect(await waited()).toBe(true);
  expect(await vectors()).toBe(21);
  await database.query(`update doc set body = 'other' where id = 3`);
  expect(await waited(`'3'`)).toBe(true);
  const { rows } = await database.query(`select from embedder.job`);
  expect(rows).toEqual([]);
  // A row that nobody has queued, and one that is not there.
  expect(await waited(`'1'`)).toBe(true);
  expect(await waited(`'99'`)).toBe(true);
});

it('does not wait for what is written afterwards', async () => {
  await worker.start();
  await worker.settled('doc');
  embedder.hold();
  await database.query(`update doc set body = 'a' where id in (1, 2)`);
  const asked = waited();
  const ofRow = waited(`'1'`);
  await pollUntil(
    async () =>
      (
        await database.query(
          `select from pg_stat_activity where datname = current_database() and wait_event = 'PgSleep' and query ~ 'wait_for'`,
        )
      ).rowCount === 2,
    { what: 'both calls' },
  );
  // Queued again while it is worked on: the call before was for the text before.
  await database.query(`update doc set body = 'b' where id = 1`);
  expect(await ofRow).toBe(true);
  await database.query(`insert into doc values (50, 'later')`);
  embedder.release();
  expect(await asked).toBe(true);
});

it('says so when it is not done in time, and what keeps it', async () => {
  const notices: string[] = [];
  const client = new pg.Client(database.url);
  client.on('notice', ({ message }) => notices.push(message!));
  await client.connect();
  try {
    const { rows } = await client.query(`select embedder.wait_for('doc', timeout => '20 ms') as done`);
    expect(rows).toEqual([{ done: false }]);
    expect(notices).toEqual(['pipeline "doc" is not done: 0 rows wait, 0 workers run']);
    await client.query(`select embedder.pause_pipeline('doc')`);
    await expect(client.query(`select embedder.wait_for('doc')`)).rejects.toMatchObject({
      code: '55000',
      message: 'pipeline "doc" is paused',
      hint: "select embedder.resume_pipeline('doc');",
    });
    await client.query(`select embedder.resume_pipeline('doc')`);
    await client.query(`begin isolation level repeatable read`);
    await expect(client.query(`select embedder.wait_for('doc')`)).rejects.toThrow(
      'in REPEATABLE READ this transaction does not see what is done meanwhile',
    );
    await client.query(`rollback; begin; insert into doc values (60, 'mine')`);
    await expect(client.query(`select embedder.wait_for('doc')`)).rejects.toMatchObject({
      message: 'this transaction has written, and nobody sees that before it commits',
      hint: 'Commit first, then wait.',
    });
    await client.query('rollback');
    await expect(client.query(`select embedder.wait_for('dok')`)).rejects.toThrow(
      'there is no pipeline "dok"',
    );
    await database.query(`update embedder.pipeline set error = 'no such model', error_at = now()`);
    await expect(client.query(`select embedder.wait_for('doc')`)).rejects.toThrow(
      'pipeline "doc" does not work: no such model',
    );
  } finally {
    await client.end();
  }
});

it('rows that have failed are done, those that are tried again are not', async () => {
  await worker.start();
  await worker.settled('doc');
  await database.query(`select embedder.alter_pipeline('doc', max_attempts => 1)`);
  const { EngineError } = await import('../../src/inference/backend/engine-error.ts');
  embedder.fault = (text) => (text.startsWith('poison') ? new EngineError('run', 'it cannot') : undefined);
  await database.query(`insert into doc values (70, 'poison')`);
  expect(await waited(`'70'`)).toBe(true);
  await database.query(`select embedder.alter_pipeline('doc', max_attempts => 5)`);
  await database.query(`insert into doc values (71, 'poison')`);
  expect(await waited(`'71'`, `timeout => '300 ms'`)).toBe(false);
});

it('is for those who may see how far it is', async () => {
  const role = await createRole();
  const client = new pg.Client(database.urlAs(role));
  await client.connect();
  try {
    await database.query(`grant select on doc to ${role.name}`);
    await expect(client.query(`select embedder.wait_for('doc')`)).rejects.toMatchObject({
      code: '42501',
      hint: `grant embedder_reader to ${role.name};`,
    });
    expect((await client.query('select from embedder.waiting_job')).rowCount).toBe(0);
    await database.query(`grant embedder_reader to ${role.name}`);
    const early = await client.query(`select embedder.wait_for('doc', timeout => '20 ms') as done`);
    expect(early.rows).toEqual([{ done: false }]);
    await worker.start();
    expect((await client.query(`select embedder.wait_for('doc') as done`)).rows).toEqual([{ done: true }]);
  } finally {
    await client.end();
    await database.query(`drop owned by ${role.name}`);
    await role.drop();
  }
});

it('so does the library, for a row as well', async () => {
  await expect(worker.settled('doc')).rejects.toThrow('the worker has not started');
  await worker.start();
  await worker.settled('doc');
  expect(await vectors()).toBe(20);
  await database.query(`update doc set body = 'other' where id = 3`);
  await waitFor(database.kysely, 'doc', 3);
  expect((await database.query(`select from embedder.waiting_job where row_key = '3'`)).rowCount).toBe(0);
  await waitFor(database.kysely, 'doc', 'no such row');
  embedder.hold();
  await database.query(`update doc set body = 'more' where id = 3`);
  await expect(waitFor(database.kysely, 'doc', 3, { timeoutMs: 50 })).rejects.toThrow(
    'is not done after 0.05 s',
  );
  embedder.release();
});
