import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { FakeEmbedder, knownModels, workerOn } from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { createDatabase, startServer, type TestDatabase, type TestServer } from '../../support/postgres.ts';
import { serveWorker, type TestHttpServer } from './support.ts';

const UNABLE = fileURLToPath(new URL('../../fixtures/engines/unable.mjs', import.meta.url));
const ALL_WELL = { worker: 'ok', database: 'ok', schema: 'ok', engine: 'ok' };

let server: TestServer;
let database: TestDatabase;
let worker: Worker;
let http: TestHttpServer;

beforeAll(async () => {
  server = await startServer();
  database = await createDatabase({ vector: true, serverUrl: server.url });
  const kysely = openDatabase(database.url, 1);
  await migrate(kysely, knownModels());
  await kysely.destroy();
  await database.query(
    `create table doc (id int primary key, body text); select embedder.create_pipeline('doc', 'body', index => 'none')`,
  );
});
afterAll(async () => {
  await database.drop();
  await server.stop();
});
afterEach(async () => {
  await worker.stop();
  await http.close();
});

/** Until /readyz says so: it keeps what it has found for a second. */
const readiness = (ready: boolean) =>
  pollUntil(
    async () => {
      const report = await http.readiness();
      return report.ready === ready ? report : undefined;
    },
    { what: `ready: ${ready}`, every: 100 },
  );

describe('readiness', () => {
  it('comes with the start and goes with the stop, and liveness stays', async () => {
    worker = workerOn(database, { embedder: new FakeEmbedder() });
    http = await serveWorker(worker, database.url);
    expect(await http.readiness()).toEqual({
      status: 503,
      ready: false,
      checks: { ...ALL_WELL, worker: 'has not started yet' },
    });
    await worker.start();
    expect(await readiness(true)).toEqual({ status: 200, ready: true, checks: ALL_WELL });
    await worker.stop();
    expect(await readiness(false)).toMatchObject({
      status: 503,
      checks: { ...ALL_WELL, worker: 'has stopped' },
    });
    const alive = await http.get('/healthz');
    expect([alive.status, await alive.json()]).toEqual([200, { alive: true, worker: 'stopped' }]);
  });

  it('depends on the database, and liveness does not', async () => {
    worker = workerOn(database, { embedder: new FakeEmbedder() });
    http = await serveWorker(worker, database.url);
    await worker.start();
    await readiness(true);
    await server.halt('immediate');
    try {
      const report = await readiness(false);
      expect(report.checks).toEqual({
        ...ALL_WELL,
        database: expect.stringMatching(/^away: /),
        schema: 'unknown, the database is away',
      });
      const alive = await http.get('/healthz');
      expect([alive.status, await alive.json()]).toEqual([200, { alive: true, worker: 'working' }]);
    } finally {
      await server.start();
    }
    expect((await readiness(true)).checks).toEqual(ALL_WELL);
  });

  it('depends on the schema', async () => {
    worker = workerOn(database, { embedder: new FakeEmbedder() });
    http = await serveWorker(worker, database.url);
    await worker.start();
    await readiness(true);
    await database.query(
      `update embedder.applied_file set sha256 = reverse(sha256) where name = 'sql/queue/claim.sql'`,
    );
    expect((await readiness(false)).checks).toEqual({
      ...ALL_WELL,
      schema: 'is of another version: run pgembedder migrate',
    });
    await database.query(
      `update embedder.applied_file set sha256 = reverse(sha256) where name = 'sql/queue/claim.sql'`,
    );
    await readiness(true);
  });

  it('depends on an engine that comes up', async () => {
    worker = workerOn(database, { engine: { entry: UNABLE } });
    http = await serveWorker(worker, database.url);
    const failed = once(worker.events, 'pipelineError');
    await worker.start();
    await readiness(true);
    await database.query(`insert into doc values (1, 'text')`);
    await failed;
    expect((await readiness(false)).checks).toEqual({
      ...ALL_WELL,
      engine: expect.stringMatching(
        /^its process ended \d+ times before it could run: pgembedder doctor says more$/,
      ),
    });
  });
});
