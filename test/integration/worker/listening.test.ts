import { once } from 'node:events';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Worker } from '../../../src/worker/worker.ts';
import { openDeafProxy } from '../../support/deaf-proxy.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  jobCount,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

let database: MigratedDatabase;
let worker: Worker | undefined;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(
    `create table doc (id int primary key, body text); select embedder.create_pipeline('doc', 'body', index => 'none')`,
  );
});
afterAll(() => database.drop());
beforeEach(() => database.query('truncate doc; delete from embedder.worker_process'));
afterEach(async () => {
  await worker?.stop();
  worker = undefined;
});

const register = async () =>
  (
    await database.query<{ listening: boolean; idle: boolean; alive: boolean }>(
      'select listening, idle, alive from embedder.worker',
    )
  ).rows;

/**
 * Resolves when the worker has begun to wait for `least` ms or longer, with the length of that wait: only a
 * notification can wake it much sooner.
 */
async function asleep(of: Worker, least = 3_000): Promise<number> {
  let last = performance.now();
  for (;;) {
    await once(of.events, 'idle');
    const now = performance.now();
    // The waits double up to 5 s, so the one that begins now is twice as long as the one that has ended.
    if (2 * (now - last) > least) return Math.min(5_000, 2 * (now - last));
    last = now;
  }
}

/** Listens as a worker does. */
async function ear() {
  const listener = await database.pool.connect();
  const heard: (string | undefined)[] = [];
  listener.on('notification', ({ payload }) => heard.push(payload));
  await listener.query('listen embedder_job');
  return {
    /** What was sent since the last call. */
    async hearAll() {
      // A notification of our own comes after all that were sent before.
      await database.query(`select pg_notify('embedder_job', 'mark')`);
      await pollUntil(async () => {
        await listener.query('select');
        return heard.includes('mark');
      });
      return heard.splice(0).filter((payload) => payload !== 'mark');
    },
    release: () => listener.release(true),
  };
}

describe('LISTEN', () => {
  it('wakes a sleeping worker at once', async () => {
    worker = workerOn(database, { embedder: new FakeEmbedder() });
    const started = once(worker.events, 'started');
    await worker.start();
    expect(await started).toEqual([{ workerId: expect.any(Number), listening: true }]);
    const wait = await asleep(worker);
    expect(await register()).toEqual([{ listening: true, idle: true, alive: true }]);
    const begin = performance.now();
    const claimed = once(worker.events, 'claimed');
    await database.query(`insert into doc values (1, 'text')`);
    await claimed;
    expect(performance.now() - begin).toBeLessThan(wait / 2);
  });

  it('is not used by writers while no worker sleeps', async () => {
    const { hearAll, release } = await ear();
    const write = async () => {
      await database.query(`insert into doc values (1, 'a'); update doc set body = 'b'; delete from doc`);
      await database.query(`select enqueue_embed('doc', 1)`);
      return hearAll();
    };
    try {
      expect(await write()).toEqual([]);
      await database.query(`insert into embedder.worker_process (hostname, pid, version, listening, idle) values ('h', 1, '0', true, false);
        select setval('embedder.asleep', 1)`);
      expect(await write()).toEqual([]);
      await database.query('update embedder.worker_process set idle = true, listening = false');
      expect(await write()).toEqual([]);
      await database.query(
        `update embedder.worker_process set listening = true, beat_at = now() - interval '11 seconds'`,
      );
      expect(await write()).toEqual([]);
      await database.query('update embedder.worker_process set beat_at = now()');
      expect(await write()).toEqual(['']);
      // Where the sequence says that nobody is asleep, the register is not looked at; the worker's next beat puts it right.
      await database.query(`select setval('embedder.asleep', 0)`);
      expect(await write()).toEqual([]);
      await database.query('select embedder.beat(id) from embedder.worker_process');
      expect(await write()).toEqual(['']);
      await database.query(`insert into embedder.worker_process (hostname, pid, version, listening) values ('h', 2, '0', true);
        select embedder.set_idle(id, false) from embedder.worker_process where pid = 2`);
      expect(await write()).toEqual(['']);
      await database.query('select embedder.set_idle(id, false) from embedder.worker_process where pid = 1');
      expect(await write()).toEqual([]);
      await database.query('select embedder.set_idle(id, true) from embedder.worker_process where pid = 1');
      await database.query('update doc set body = body; insert into doc select 1 where false');
      expect(await hearAll()).toEqual([]);
      for (const call of [
        `create_pipeline('doc', 'body', name => 'other')`,
        `pause_pipeline('other')`,
        `resume_pipeline('other')`,
        `drop_pipeline('other', true)`,
      ]) {
        await database.query(`select embedder.${call}`);
        expect(await hearAll(), call).toContain('pipeline');
      }
    } finally {
      release();
    }
  });

  it('is used by one writer: those after its commit need not, until a worker has looked', async () => {
    const { hearAll, release } = await ear();
    const other = await database.pool.connect();
    let id = 0;
    const insert = () => database.query(`insert into doc values ($1, 'a')`, [++id]);
    const look = () =>
      database.query(`select embedder.claim_jobs(w.id, '{}', 1, '1 minute') from embedder.worker_process w`);
    try {
      await database.query(`insert into embedder.worker_process (hostname, pid, version, listening, idle) values ('h', 1, '0', true, true);
        select setval('embedder.asleep', 1)`);
      await insert();
      await insert();
      expect(await hearAll()).toEqual(['']);
      await look();
      await insert();
      expect(await hearAll()).toEqual(['']);
      // One that is open may be so for long, and nobody hears it before its end.
      await look();
      await other.query(`begin; insert into doc values (100, 'a')`);
      await insert();
      expect(await hearAll()).toEqual(['']);
      await other.query('commit');
      await hearAll();
      // One that was rolled back was heard by nobody.
      await look();
      await other.query(`begin; insert into doc values (101, 'a'); rollback`);
      await insert();
      expect(await hearAll()).toEqual(['']);
      // The number is of another server's transactions.
      await database.query(`select setval('embedder.asleep', 9000000000000000000)`);
      await insert();
      expect(await hearAll()).toEqual(['']);
      // A heartbeat ends it as well: the notification of a savepoint that was rolled back was heard by nobody.
      await look();
      await other.query(`begin; savepoint s; insert into doc values (102, 'a'); rollback to s; commit`);
      await insert();
      expect(await hearAll()).toEqual([]);
      await database.query('select embedder.beat(id) from embedder.worker_process');
      await insert();
      expect(await hearAll()).toEqual(['']);
    } finally {
      other.release(true);
      release();
    }
  });

  it('is believed only when it works: else the worker polls, and says so once', async () => {
    const proxy = await openDeafProxy(database.url);
    const lines: { msg: string; level: number }[] = [];
    const logger = pino(
      { level: 'warn' },
      { write: (line: string) => void lines.push(JSON.parse(line) as { msg: string; level: number }) },
    );
    try {
      worker = workerOn(database, { connection: proxy.url, logger, embedder: new FakeEmbedder() });
      const started = once(worker.events, 'started');
      await worker.start();
      expect(await started).toEqual([{ workerId: expect.any(Number), listening: false }]);
      expect(lines.map(({ msg }) => msg)).toEqual([
        expect.stringMatching(/^LISTEN does not work on this connection .* polling instead$/),
      ]);
      expect(proxy.lost).toBeGreaterThan(0);
      await asleep(worker, 400);
      expect(await register()).toEqual([{ listening: false, idle: true, alive: true }]);
      const completed = once(worker.events, 'completed');
      await database.query(`insert into doc values (1, 'text')`);
      await completed;
      const reloaded = once(worker.events, 'pipelines');
      await reloaded;
      await worker.stop();
      expect(lines).toHaveLength(1);
    } finally {
      await worker?.stop();
      await proxy.close();
    }
  });
});

describe('a worker that was taken for dead', () => {
  it('registers anew, and is woken again', async () => {
    worker = workerOn(database, { embedder: new FakeEmbedder() });
    await worker.start();
    const { rows: before } = await database.query<{ id: number }>('select id from embedder.worker');
    await once(worker.events, 'idle');
    await database.query('delete from embedder.worker_process');
    const [now] = await pollUntil(async () => {
      const { rows } = await database.query<{ id: number; idle: boolean }>(
        'select id, idle from embedder.worker',
      );
      return rows[0]?.idle ? rows : undefined;
    });
    expect(now!.id).not.toBe(before[0]!.id);
    const wait = await asleep(worker);
    const begin = performance.now();
    const claimed = once(worker.events, 'claimed');
    await database.query(`insert into doc values (1, 'text')`);
    await claimed;
    expect(performance.now() - begin).toBeLessThan(wait / 2);
    await pollUntil(async () => (await jobCount(database)) === 0);
    expect(worker.stats.embedded).toBe(1);
    await worker.stop();
    expect(await register()).toEqual([]);
  });
});
