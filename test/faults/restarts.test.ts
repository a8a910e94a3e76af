import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  FakeEmbedder,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  readVectors,
  workerOn,
  wrongKeys,
} from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';
import { startServer, type TestServer } from '../support/postgres.ts';

let server: TestServer;
let database: MigratedDatabase;

beforeAll(async () => {
  server = await startServer();
  database = await createMigratedDatabase({ serverUrl: server.url });
  await database.query(`create table doc (id int primary key, body text);
    select embedder.create_pipeline('doc', 'body', name => 'side', index => 'none');
    select embedder.create_pipeline('doc', 'body', name => 'col', target_column => 'embedding', index => 'none')`);
});
afterAll(async () => {
  await database.drop();
  await server.stop();
});

describe.each(['fast', 'immediate'] as const)(
  'PostgreSQL restarted (%s) in the middle of a drain',
  (mode) => {
    it('costs no row and no vector, and the worker hears again', async () => {
      await database.query(
        `truncate doc; insert into doc select i, '${mode} ' || i from generate_series(1, 2000) i`,
      );
      const worker = workerOn(database, { embedder: new FakeEmbedder(), window: 50, leaseSeconds: 5 });
      let ended = false;
      await worker.start();
      await once(worker.events, 'completed');
      await server.halt(mode);
      ended = worker.stats.embedded >= 4_000;
      expect(ended, 'the drain had ended before the server did').toBe(false);
      await server.start();
      const empty = () =>
        pollUntil(
          () =>
            jobCount(database).then(
              (n) => n === 0,
              () => false,
            ),
          { what: 'an empty queue', deadline: 50_000 },
        );
      await empty();
      const wanted = new Map(
        Array.from({ length: 2_000 }, (_, i) => [String(i + 1), fakeVector(`${mode} ${i + 1}`)]),
      );
      expect(
        wrongKeys(await readVectors(database, 'select id, embedding from side_embedding'), wanted),
      ).toEqual([]);
      expect(wrongKeys(await readVectors(database, 'select id, embedding from doc'), wanted)).toEqual([]);
      expect((await database.query('select from embedder.failed_job')).rowCount).toBe(0);

      // It is on the register, it listens on a new connection, and the next row wakes it.
      await pollUntil(
        async () =>
          (await database.query(`select from embedder.worker where alive and listening and idle`))
            .rowCount === 1,
      );
      await pollUntil(
        async () =>
          (
            await database.query(
              `select from pg_stat_activity where query ilike 'listen%' and datname = current_database()`,
            )
          ).rowCount === 1,
      );
      const claimed = once(worker.events, 'claimed');
      await database.query(`insert into doc values (9999, 'after')`);
      await claimed;
      await empty();
      await worker.stop();
      expect((await database.query('select from embedder.worker')).rowCount).toBe(0);
    });
  },
);

describe('a server that is away when the worker is to stop', () => {
  it('keeps it no longer than it was given', async () => {
    await database.query(
      `truncate doc; insert into doc select i, 'away ' || i from generate_series(1, 100) i`,
    );
    const embedder = new FakeEmbedder();
    embedder.hold();
    const worker = workerOn(database, { embedder, stopSeconds: 1 });
    const call = embedder.nextCall();
    await worker.start();
    await call;
    await server.halt('fast');
    embedder.release();
    const begin = performance.now();
    await worker.stop();
    expect(performance.now() - begin).toBeLessThan(5_000);
    await server.start();
  });
});
