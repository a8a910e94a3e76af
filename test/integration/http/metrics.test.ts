import { once } from 'node:events';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { version } from '../../../src/version.ts';
import type { WorkerOptions } from '../../../src/worker/options.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { openDeafProxy } from '../../support/deaf-proxy.ts';
import { metricValue } from '../../support/metrics-text.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  jobCount,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { serveWorker, type TestHttpServer } from './support.ts';

let database: MigratedDatabase;
let worker: Worker;
let http: TestHttpServer;
let fake: FakeEmbedder;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.query(
    `create table doc (id int primary key, body text); select embedder.create_pipeline('doc', 'body', index => 'none')`,
  );
  fake = new FakeEmbedder();
});
afterEach(async () => {
  await worker.stop();
  await http.close();
  await database.query(`select embedder.drop_pipeline('doc', true); drop table doc`);
});

async function open(options: Partial<WorkerOptions> = { embedder: fake }): Promise<void> {
  worker = workerOn(database, options);
  http = await serveWorker(worker, database.url);
  const pipelines = once(worker.events, 'pipelines');
  await worker.start();
  await pipelines;
}

/** The value of a metric now. */
const value = async (name: string, labels: Record<string, string> = {}) =>
  metricValue(await http.metrics(), `pgembedder_${name}`, labels);

/** Until a metric has this value: the database is asked at most each two seconds. */
const becomes = (wanted: number | null, name: string, labels: Record<string, string> = {}) =>
  pollUntil(async () => (await value(name, labels)) === wanted, { what: `${name} ${wanted}`, every: 100 });

const doc = { pipeline: 'doc' };

describe('the worker’s', () => {
  it('rows, stages, batches and tokens are counted as they pass', async () => {
    await open({});
    await database.query(
      `insert into doc select i, case when i <= 40 then repeat('word ', i) end from generate_series(1, 50) i`,
    );
    await pollUntil(async () => (await jobCount(database)) === 0 && worker.stats.embedded === 40);
    const text = await http.metrics();
    const of = (name: string, labels = {}) => metricValue(text, `pgembedder_${name}`, labels);
    expect({
      claimed: of('rows_claimed_total', { origin: 'queue' }),
      embedded: of('rows_embedded_total', doc),
      emptied: of('rows_emptied_total', doc),
      texts: of('batch_rows_total', { model: 'all-MiniLM-L6-v2' }),
      // A token a word, and one before and behind each text.
      tokens: of('tokens_total', { model: 'all-MiniLM-L6-v2' }),
      info: of('build_info', { version, node_version: process.version }),
      listening: of('worker_listening'),
      starts: of('engine_starts_total'),
      processes: of('engine_processes'),
      sessions: of('sessions', { model: 'all-MiniLM-L6-v2', state: 'loaded' }),
    }).toEqual({
      claimed: 50,
      embedded: 40,
      emptied: 10,
      texts: 40,
      tokens: (40 * 41) / 2 + 40 * 2,
      info: 1,
      listening: 1,
      starts: 1,
      processes: 1,
      sessions: 1,
    });
    expect(of('padding_tokens_total')).toBeGreaterThan(0);
    expect(of('engine_resident_memory_bytes')).toBeGreaterThan(20e6);
    expect(of('stage_duration_seconds_count', { stage: 'run' })).toBe(of('batches_total'));
    for (const stage of ['claim', 'fetch', 'tokenize', 'wait', 'run', 'write'])
      expect(of('stage_duration_seconds_count', { stage }), stage).toBeGreaterThan(0);
    // Its own process's too.
    expect(metricValue(text, 'process_resident_memory_bytes')).toBeGreaterThan(20e6);
  });

  it('failed attempts are counted by reason, retried or buried', async () => {
    fake.fault = (body) => (body === 'bad' ? new EngineError('not-finite', 'nothing finite') : undefined);
    await open();
    await database.query(`insert into doc values (1, 'good'), (2, 'bad')`);
    await becomes(1, 'rows_retried_total', doc);
    expect(await value('row_failures_total', { ...doc, reason: 'not-finite' })).toBe(1);
    expect(await value('rows_buried_total', doc)).toBe(0);
    await database.query(`update embedder.job set attempts = 4, due_at = now()`);
    await becomes(1, 'rows_buried_total', doc);
    expect(await value('row_failures_total', doc)).toBe(2);
    await becomes(1, 'queue_dead_letters', doc);
  });

  it('results of rows that changed meanwhile are counted', async () => {
    await open();
    fake.hold();
    const call = fake.nextCall();
    await database.query(`insert into doc values (1, 'changed'), (2, 'kept')`);
    await call;
    await database.query(`update doc set body = 'new' where id = 1`);
    fake.release();
    await becomes(2, 'rows_embedded_total', doc);
    expect(await value('rows_superseded_total', doc)).toBe(1);
  });

  it('engine that is killed is counted with its signal, and its successor', async () => {
    await open({});
    await database.query(`insert into doc values (1, 'one')`);
    await becomes(1, 'rows_embedded_total', doc);
    const died = once(worker.events, 'engineDied');
    process.kill(worker.sessions[0]!.pids[0]!, 'SIGKILL');
    await died;
    expect(await value('engine_deaths_total', { cause: 'SIGKILL' })).toBe(1);
    expect(await value('engine_processes')).toBe(0);
    expect(await value('sessions')).toBeNull();
    expect(await value('engine_resident_memory_bytes')).toBe(0);
    await database.query(`insert into doc values (2, 'two')`);
    await becomes(2, 'rows_embedded_total', doc);
    expect(await value('engine_starts_total')).toBe(2);
    expect(await value('sessions')).toBe(1);
  });

  it('registration that is lost is counted, and jobs that it frees', async () => {
    await database.query(`insert into embedder.worker_process (id, hostname, pid, version, beat_at)
        overriding system value values (1000000, 'h', 1, '0', now() - interval '1 hour');
      insert into doc values (1, 'one');
      update embedder.job set leased_by = 1000000, due_at = now() + interval '1 hour'`);
    await open();
    expect(await value('rows_rescued_total')).toBe(1);
    await becomes(1, 'rows_embedded_total');
    fake.hold();
    const call = fake.nextCall();
    await database.query(`insert into doc values (2, 'two'), (3, 'three')`);
    await call;
    const anew = once(worker.events, 'registeredAnew');
    await database.query('delete from embedder.worker_process');
    await anew;
    expect(await value('worker_registrations_lost_total')).toBe(1);
    expect(await value('leases_lost_total')).toBe(2);
    fake.release();
    await becomes(3, 'rows_embedded_total');
  });

  it('leases that could not be renewed in time are counted', async () => {
    await open({ embedder: fake, leaseSeconds: 3 });
    fake.hold();
    const call = fake.nextCall();
    await database.query(`insert into doc values (1, 'one')`);
    await call;
    // Paused, so that the row is not claimed again when its lease has ended.
    await database.query(`select embedder.pause_pipeline('doc')`);
    const locker = await database.pool.connect();
    try {
      // Nobody can write the queue: no lease is renewed.
      await locker.query('begin; lock table embedder.job in share mode');
      await pollUntil(
        async () =>
          (
            await locker.query(
              'select from embedder.job where due_at < clock_timestamp() - interval $$1 second$$',
            )
          ).rowCount === 1,
        { what: 'the end of the lease' },
      );
      expect(await value('leases_lost_total')).toBe(0);
    } finally {
      await locker.query('rollback');
      locker.release();
    }
    await becomes(1, 'leases_lost_total');
    fake.release();
    await becomes(1, 'rows_embedded_total');
  });

  it('polling is told, where LISTEN does not work', async () => {
    const proxy = await openDeafProxy(database.url);
    try {
      await open({ embedder: fake, connection: proxy.url });
      expect(await value('worker_listening')).toBe(0);
      await worker.stop();
    } finally {
      await proxy.close();
    }
  });
});

describe('the queue’s', () => {
  it('depth, age, counts and state are the database’s, a generation a series', async () => {
    await open();
    await database.query(`insert into doc values (1, 'one'), (2, 'two'), (3, 'three')`);
    await becomes(3, 'pipeline_embedded_rows', doc);
    expect(await value('pipeline_source_rows', { ...doc, generation: '1' })).toBe(3);
    await becomes(1, 'pipeline_state', { ...doc, state: 'live' });
    expect(await value('pipeline_state', { ...doc, state: 'error' })).toBe(0);
    expect(await value('queue_oldest_due_age_seconds', doc)).toBe(0);
    await database.query(`select embedder.pause_pipeline('doc'); update doc set body = body || '!' where id < 3;
      update embedder.job set due_at = now() - interval '1 hour' where row_key = '1'`);
    await becomes(2, 'queue_pending_jobs', doc);
    await becomes(1, 'pipeline_state', { ...doc, state: 'paused' });
    expect(await value('pipeline_state', { ...doc, state: 'live' })).toBe(0);
    expect(await value('queue_oldest_due_age_seconds', doc)).toBeGreaterThan(3_599);
    await database.query(`select embedder.alter_pipeline('doc', input => '{body}?')`);
    await becomes(3, 'pipeline_source_rows', { ...doc, generation: '2' });
    await database.query(`select embedder.drop_next_generation('doc')`);
    await becomes(null, 'pipeline_source_rows', { ...doc, generation: '2' });
  });

  it('jobs in a worker’s hands are told apart', async () => {
    await open();
    fake.hold();
    await database.query(`insert into doc values (1, 'one'), (2, 'two')`);
    await becomes(2, 'queue_leased_jobs', doc);
    expect(await value('queue_pending_jobs', doc)).toBe(0);
    fake.release();
    await becomes(0, 'queue_leased_jobs', doc);
  });

  it('are gone while the database does not answer, and the worker’s own stay', async () => {
    await open();
    await becomes(1, 'database_up');
    const { name } = database;
    const admin = new URL(database.url);
    admin.pathname = '/postgres';
    const client = new pg.Client({ connectionString: admin.href });
    await client.connect();
    try {
      await client.query(`alter database ${name} allow_connections false`);
      await client.query(`select pg_terminate_backend(pid) from pg_stat_activity where datname = $1`, [name]);
      await becomes(0, 'database_up');
      expect(await value('queue_pending_jobs')).toBeNull();
      expect(await value('pipeline_source_rows')).toBeNull();
      expect(await value('rows_embedded_total', doc)).toBe(0);
    } finally {
      await client.query(`alter database ${name} allow_connections true`);
      await client.end();
    }
    await becomes(1, 'database_up');
    await becomes(0, 'queue_pending_jobs');
  });

  it('may be read by a worker’s role', async () => {
    const { rows } = await database.query<{ allowed: boolean }>(
      `select has_function_privilege('embedder_worker', 'embedder.queue_metrics()', 'execute')
        and not has_function_privilege('public', 'embedder.queue_metrics()', 'execute') as allowed`,
    );
    expect(rows).toEqual([{ allowed: true }]);
    await open();
  });
});
