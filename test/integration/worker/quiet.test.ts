import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Worker } from '../../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';

/** Longer than heartbeat, poll and check of a worker that is not quiet. */
const A_WHILE_MS = 6_000;

let database: MigratedDatabase;
let worker: Worker | undefined;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(
    `create extension dblink;
     create table doc (id int primary key, body text);
     select embedder.create_pipeline('doc', 'body', index => 'none')`,
  );
});
afterAll(() => database.drop());
beforeEach(() => database.query('truncate doc; delete from embedder.worker_process'));
afterEach(async () => {
  await worker?.stop();
  worker = undefined;
});

/** A worker that is quiet now. */
async function quietWorker(lookSeconds: number, afterSeconds = 0.5): Promise<Worker> {
  worker = workerOn(database, { embedder: new FakeEmbedder(), quietIdle: { lookSeconds, afterSeconds } });
  const quiet = once(worker.events, 'quiet');
  await worker.start();
  await quiet;
  return worker;
}

/** What the sessions of the worker have asked so far; its connections that did nothing for ten seconds are closed. */
const asked = async () =>
  (
    await database.query<{ at: Date }>(
      `select query_start as at from pg_stat_activity
       where datname = current_database() and application_name = 'pgembedder'
       order by 1 desc limit 1`,
    )
  ).rows[0]?.at.getTime();

const register = async () =>
  (
    await database.query<{ alive: boolean; ahead: boolean }>(
      "select alive, beat_at > now() + interval '1 minute' as ahead from embedder.worker",
    )
  ).rows;

describe('a worker that is quiet while it is idle', () => {
  it('says nothing to the server, and counts as alive', async () => {
    await quietWorker(3_600);
    // What was under way when it became quiet.
    await wait(A_WHILE_MS);
    const before = await asked();
    await wait(A_WHILE_MS);
    expect(await asked()).toEqual(before);
    expect(await register()).toEqual([{ alive: true, ahead: true }]);
  });

  it('is woken by rows, and quiet again after them', async () => {
    const { events } = await quietWorker(3_600);
    const completed = once(events, 'completed');
    const quiet = once(events, 'quiet');
    await database.query(`insert into doc values (1, 'text')`);
    expect(await completed).toMatchObject([{ embedded: 1 }]);
    expect(await register()).toEqual([{ alive: true, ahead: false }]);
    await quiet;
    expect(await register()).toEqual([{ alive: true, ahead: true }]);
  });

  it('answers query texts', async () => {
    await quietWorker(3_600);
    const { rows } = await database.query<{ length: number }>(
      `select cardinality(embedder.embed('a query')::real[]) as length`,
    );
    expect(rows).toEqual([{ length: 384 }]);
  });

  it('wakes when a job becomes due', async () => {
    await database.query(
      `insert into doc values (1, 'text'); update embedder.job set due_at = now() + interval '3 seconds'`,
    );
    const { events } = await quietWorker(3_600);
    expect(await once(events, 'completed')).toMatchObject([{ embedded: 1 }]);
  });

  it('opens no connection while its own is broken, and looks when it is time', async () => {
    const { events } = await quietWorker(4);
    const lost = once(events, 'listening');
    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity
       where datname = current_database() and application_name = 'pgembedder' and query like 'listen %'`,
    );
    expect(await lost).toEqual([false]);
    const restored = once(events, 'listening');
    await database.query(`insert into doc values (1, 'text')`);
    expect(await once(events, 'completed')).toMatchObject([{ embedded: 1 }]);
    expect(await restored).toEqual([true]);
  });

  it('is given up by its peers when it is gone and the time for its look has passed', async () => {
    await quietWorker(3_600);
    await database.query(`update embedder.worker_process set beat_at = now() - interval '11 seconds'`);
    await database.query('select embedder.rescue_jobs()');
    expect(await register()).toEqual([]);
    const { events } = worker!;
    const anew = once(events, 'registeredAnew');
    await database.query(`select pg_notify('embedder_job', '')`);
    await anew;
    expect(await register()).toMatchObject([{ alive: true }]);
  });
});
