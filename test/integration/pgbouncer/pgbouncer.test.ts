import { once } from 'node:events';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrationState } from '../../../src/database/migrate/applied-files.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { metricValue } from '../../support/metrics-text.ts';
import { type PgBouncer, startPgBouncer } from '../../support/pgbouncer.ts';
import {
  FakeEmbedder,
  fakeVector,
  jobCount,
  knownModels,
  readVectors,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import {
  createDatabase,
  createRole,
  startServer,
  type TestDatabase,
  type TestRole,
  type TestServer,
} from '../../support/postgres.ts';
import { findProgram } from '../../support/program.ts';
import { serveWorker } from '../http/support.ts';

const program = await findProgram('pgbouncer', 'pgbouncer');

describe.skipIf(program === null)('through PgBouncer in transaction mode', () => {
  let server: TestServer;
  let bouncer: PgBouncer;
  /** Straight to the server. */
  let database: TestDatabase;
  /** The same, through PgBouncer. */
  let pooled: TestDatabase;
  let role: TestRole;
  let worker: Worker;
  let embedder: FakeEmbedder;

  beforeAll(async () => {
    server = await startServer();
    role = await createRole('', server.url);
    bouncer = await startPgBouncer(program!, {
      host: '127.0.0.1',
      port: server.port,
      users: ['postgres', role.name],
    });
    database = await createDatabase({ vector: true, serverUrl: server.url });
    const pool = new pg.Pool({ connectionString: bouncer.through(database.url), max: 10 });
    pool.on('error', () => {});
    pooled = {
      ...database,
      url: bouncer.through(database.url),
      pool,
      query: (text, parameters) => pool.query(text, parameters),
      urlAs: (of) => bouncer.through(database.urlAs(of)),
      drop: () => pool.end(),
    };
  });
  afterAll(async () => {
    await pooled.drop();
    await database.drop();
    await bouncer.stop();
    await server.stop();
  });
  beforeEach(() => {
    embedder = new FakeEmbedder();
  });
  afterEach(async () => {
    await worker?.stop();
    await pooled.query(
      `select embedder.drop_pipeline(name, true) from embedder.pipeline; drop table if exists doc`,
    );
  });

  const open = async () => {
    worker = workerOn(pooled, { embedder });
    await worker.start();
  };
  const makePipeline = (rows: number, index = 'none') =>
    pooled.query(`create table doc (id int primary key, body text);
      insert into doc select i, 'text ' || i from generate_series(1, ${rows}) i;
      select embedder.create_pipeline('doc', 'body', index => '${index}')`);
  const done = () => pollUntil(async () => (await jobCount(database)) === 0, { what: 'an empty queue' });
  const wrong = async () => {
    const { rows } = await database.query<{ id: number; body: string }>('select id, body from doc');
    const wanted = new Map(rows.map(({ id, body }) => [String(id), fakeVector(body)]));
    return wrongKeys(await readVectors(database, 'select id, embedding from doc_embedding'), wanted);
  };

  it('migrate works, by two at once too', async () => {
    const migrators = [openDatabase(pooled.url, 2), openDatabase(pooled.url, 2)];
    const results = await Promise.all(migrators.map((one) => migrate(one, knownModels())));
    expect(await migrationState(migrators[0]!)).toBe('current');
    const applied = results.flatMap(({ migrations }) => migrations);
    expect(applied).toContain('migrations/0001_tables.sql');
    expect(applied).toHaveLength(new Set(applied).size);
    await Promise.all(migrators.map((one) => one.destroy()));
    // It left no lock behind in a session that is kept.
    const { rows } = await database.query<{ n: number }>(
      `select count(*)::int as n from pg_locks where locktype = 'advisory'`,
    );
    expect(rows).toEqual([{ n: 0 }]);
  });

  it('a drain embeds each row once and builds the index', async () => {
    await makePipeline(3_000, 'hnsw');
    worker = workerOn(pooled, { embedder, window: 500 });
    // Others use the pool meanwhile, so that the worker's statements go through all of its sessions.
    let bustling = true;
    const bustle = Array.from({ length: 4 }, async () => {
      while (bustling) await pooled.query('select pg_sleep(0.002)');
    });
    const drained = await worker.drain();
    bustling = false;
    await Promise.all(bustle);
    expect(drained).toMatchObject({ embedded: 3_000, retried: 0, dead: 0, failing: [] });
    expect(await wrong()).toEqual([]);
    const { rows } = await pooled.query('select state, coverage, index_state from embedder.status');
    expect(rows).toEqual([{ state: 'live', coverage: '1.0000', index_state: 'built' }]);
    const { rows: locks } = await database.query(`select from pg_locks where locktype = 'advisory'`);
    expect(locks).toEqual([]);
  });

  it('a worker polls, and embeds what is inserted, updated and deleted', async () => {
    await makePipeline(0);
    worker = workerOn(pooled, { embedder });
    const started = once(worker.events, 'started');
    await worker.start();
    expect(await started).toEqual([{ workerId: expect.any(Number), listening: false }]);
    const { rows } = await pooled.query('select listening, alive from embedder.worker');
    expect(rows).toEqual([{ listening: false, alive: true }]);
    await pooled.query(`insert into doc select i, 'text ' || i from generate_series(1, 1000) i`);
    await done();
    await pooled.query(
      `update doc set body = 'new ' || id where id % 2 = 0; delete from doc where id % 10 = 0`,
    );
    await done();
    expect(await wrong()).toEqual([]);
  });

  it('a worker that is connected past it is woken by writers behind it', async () => {
    await makePipeline(0);
    worker = workerOn(database, { embedder });
    await worker.start();
    const client = new pg.Client({ connectionString: database.url });
    await client.connect();
    try {
      await client.query('listen embedder_job');
      await pollUntil(
        async () => (await database.query('select from embedder.worker where idle and listening')).rowCount,
      );
      const heard = once(client, 'notification');
      await pooled.query(`insert into doc values (1, 'one')`);
      await heard;
      await done();
      expect(await wrong()).toEqual([]);
    } finally {
      await client.end();
    }
  });

  it('a row that fails is retried, becomes a dead letter, and comes back', async () => {
    await makePipeline(3);
    embedder.fault = (text) =>
      text === 'text 2' ? new EngineError('not-finite', 'nothing finite') : undefined;
    await open();
    await pollUntil(
      async () =>
        (await database.query('select from embedder.job where attempts = 1 and leased_by is null'))
          .rowCount === 1,
    );
    await database.query('update embedder.job set attempts = 4, due_at = now()');
    await pollUntil(async () => (await pooled.query('select from embedder.failed_job')).rowCount === 1);
    embedder.fault = () => undefined;
    await pooled.query(`select embedder.retry_failed('doc')`);
    await done();
    expect(await wrong()).toEqual([]);
  });

  it('a worker that was killed is noticed by its heartbeat, and its rows are done', async () => {
    await makePipeline(1);
    await database.query(`insert into embedder.worker_process (id, hostname, pid, version, beat_at)
        overriding system value values (1000000, 'h', 1, '0', now() - interval '1 hour');
      insert into embedder.job (pipeline_id, row_key, leased_by, due_at)
        select id, '1', 1000000, now() + interval '1 hour' from embedder.pipeline
        on conflict (pipeline_id, row_key) do update set leased_by = 1000000, due_at = excluded.due_at`);
    await open();
    await done();
    expect(await wrong()).toEqual([]);
  });

  it('a stop gives back what is held', async () => {
    await makePipeline(100);
    embedder.hold();
    const call = embedder.nextCall();
    await open();
    await call;
    const stopped = worker.stop();
    embedder.release();
    await stopped;
    const { rows } = await database.query('select from embedder.job where leased_by is not null');
    expect(rows).toEqual([]);
    const { rows: register } = await database.query('select from embedder.worker');
    expect(register).toEqual([]);
  });

  it('a stop ends an index build that is under way, and nobody else’s statement', async () => {
    await makePipeline(20, 'hnsw');
    // Whoever has written and is still open keeps `create index concurrently` waiting.
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    await holder.query('begin; lock table doc_embedding in row exclusive mode');
    const building = async () =>
      (
        await database.query(
          `select from pg_stat_activity where state = 'active' and query like '%create index concurrently%' and pid <> pg_backend_pid()`,
        )
      ).rowCount;
    try {
      await open();
      await pollUntil(building, { what: 'an index under way' });
      const other = pooled.query('select pg_sleep(1)');
      await worker.stop();
      expect(await building()).toBe(0);
      await other;
    } finally {
      await holder.end();
    }
  });

  it('a backfill runs to its end', async () => {
    await makePipeline(2_000);
    await open();
    await done();
    await database.query('delete from doc_embedding where id <= 1500');
    await pooled.query(`select embedder.backfill('doc')`);
    await pollUntil(
      async () =>
        (await database.query('select from embedder.backfill_run')).rowCount === 0 &&
        (await jobCount(database)) === 0,
    );
    expect(await wrong()).toEqual([]);
  });

  it('embed and search answer, in any session and any transaction', async () => {
    await pooled.query('create extension if not exists dblink');
    await makePipeline(20);
    await open();
    await done();
    for (let i = 1; i <= 6; i++) {
      const { rows } = await pooled.query<{ row_key: string }>(
        `select row_key from embedder.search('doc', 'text ${i}', 1)`,
      );
      expect(rows).toEqual([{ row_key: String(i) }]);
    }
    const client = new pg.Client({ connectionString: pooled.url });
    await client.connect();
    try {
      await client.query('begin isolation level repeatable read');
      const { rows } = await client.query<{ vector: string }>(
        `select embedder.embed('another text')::text as vector`,
      );
      expect(JSON.parse(rows[0]!.vector)).toHaveLength(384);
      await client.query('commit');
    } finally {
      await client.end();
    }
  });

  it('health and metrics are told', async () => {
    await makePipeline(5);
    worker = workerOn(pooled, { embedder });
    const http = await serveWorker(worker, pooled.url);
    try {
      await worker.start();
      await done();
      expect(await http.readiness()).toMatchObject({ ready: true });
      const text = await http.metrics();
      expect(metricValue(text, 'pgembedder_worker_listening')).toBe(0);
      expect(metricValue(text, 'pgembedder_pipeline_embedded_rows', { pipeline: 'doc' })).toBe(5);
    } finally {
      await http.close();
    }
  });

  it('a role that is no superuser is enough', async () => {
    await pooled.query(
      `grant embedder_worker to ${role.name}; grant create on schema public to ${role.name}`,
    );
    const client = new pg.Client({ connectionString: pooled.urlAs(role) });
    await client.connect();
    await client.query(`create table doc (id int primary key, body text); insert into doc values (1, 'one'), (2, 'two');
      select embedder.create_pipeline('doc', 'body')`);
    await client.end();
    worker = workerOn(pooled, { connection: pooled.urlAs(role), embedder });
    expect(await worker.drain()).toMatchObject({ embedded: 2, failing: [] });
    expect(await wrong()).toEqual([]);
    const { rows } = await database.query('select index_state from embedder.status');
    expect(rows).toEqual([{ index_state: 'built' }]);
    await database.query(
      `select embedder.drop_pipeline('doc', true); drop table doc; drop owned by ${role.name}`,
    );
  });

  it('a worker goes on when PgBouncer has cut its connections', async () => {
    await makePipeline(10);
    await open();
    await done();
    await database.query(
      `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
        and application_name = 'pgembedder'`,
    );
    // PgBouncer has several of these connections, and may lend more than one that is gone.
    await pollUntil(() =>
      pooled.query(`update doc set body = body || '!'`).catch((error: { code?: string }) => {
        if (error.code !== '57P01') throw error;
      }),
    );
    await done();
    expect(await wrong()).toEqual([]);
  });
});
