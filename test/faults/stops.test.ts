import { once } from 'node:events';
import { join } from 'node:path';
import type pg from 'pg';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.ts';
import type { Worker } from '../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  jobCount,
  type MigratedDatabase,
  queueBackfills,
  workerOn,
} from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';

/** What a stop that is given a second may take on a busy machine. */
const SOON_MS = 6_000;

let database: MigratedDatabase;
let holder: pg.PoolClient;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.query(
    `delete from embedder.worker_process; create table doc (id int primary key, body text); insert into doc select i, 'text ' || i from generate_series(1, 20) i`,
  );
  holder = await database.pool.connect();
});
afterEach(async () => {
  await holder.query('rollback');
  holder.release();
  await database.query(`select embedder.drop_pipeline('doc', true); drop table doc`);
});

/** Stops a worker that was given a second for it; throws when it takes much longer. */
async function stopSoon(worker: Worker): Promise<void> {
  const late = new Promise<'late'>((resolve) => setTimeout(resolve, SOON_MS, 'late'));
  expect(await Promise.race([worker.stop(), late])).not.toBe('late');
}

const leases = async () =>
  (
    await database.query<{ total: number; leased: number; attempts: number }>(
      `select count(*)::int as total, count(leased_by)::int as leased, max(attempts) as attempts from embedder.job`,
    )
  ).rows[0]!;

describe('stop, within its time', () => {
  it('when the engine hangs: gives the rows back', async () => {
    await database.query(`select embedder.create_pipeline('doc', 'body', index => 'none')`);
    let hangs = () => {};
    const hanging = new Promise<void>((resolve) => {
      hangs = resolve;
    });
    const logger = pino({ level: 'warn' }, { write: (line: string) => line.includes('hanging') && hangs() });
    const entry = join(packageRoot, 'test/fixtures/engines/hanging.mjs');
    const worker = workerOn(database, { stopSeconds: 2, logger, engine: { entry } });
    await worker.start();
    await hanging;
    await stopSoon(worker);
    expect(await leases()).toEqual({ total: 20, leased: 0, attempts: 0 });
    expect((await database.query('select from embedder.worker')).rowCount).toBe(0);
  });

  it('when its table is locked as a whole', async () => {
    await database.query(`select embedder.create_pipeline('doc', 'body', index => 'none')`);
    await queueBackfills(database, 'doc');
    await holder.query('begin; lock table doc in access exclusive mode');
    const worker = workerOn(database, { stopSeconds: 1, embedder: new FakeEmbedder() });
    const claimed = once(worker.events, 'claimed');
    await worker.start();
    await claimed;
    await stopSoon(worker);
    expect(await jobCount(database)).toBe(20);
  });

  it.each(['start', 'drain'] as const)(
    'while an index is being built (%s), which the next worker builds',
    async (way) => {
      await database.query(`select embedder.create_pipeline('doc', 'body')`);
      // Whoever has written and is still open keeps `create index concurrently` waiting.
      await holder.query('begin; lock table doc_embedding in row exclusive mode');
      const worker = workerOn(database, { stopSeconds: 1, embedder: new FakeEmbedder() });
      const drained = way === 'drain' ? worker.drain().catch((error: unknown) => error) : worker.start();
      await pollUntil(
        async () =>
          (
            await database.query(
              `select from pg_stat_activity where query like '%create index concurrently%' and pid <> pg_backend_pid() and datname = current_database() and state = 'active'`,
            )
          ).rowCount === 1,
        { what: 'an index under way' },
      );
      await stopSoon(worker);
      await drained;
      await holder.query('rollback');
      await drain(database);
      const { rows } = await database.query(
        `select indisvalid as valid from pg_index where indrelid = 'doc_embedding'::regclass and not indisprimary`,
      );
      expect(rows).toEqual([{ valid: true }]);
    },
  );

  it('twice, and before it has begun', async () => {
    await database.query(`select embedder.create_pipeline('doc', 'body', index => 'none')`);
    const worker = workerOn(database, { embedder: new FakeEmbedder() });
    await worker.start();
    await Promise.all([worker.stop(), worker.stop()]);
    await workerOn(database).stop();
    expect((await database.query('select from embedder.worker')).rowCount).toBe(0);
  });
});
