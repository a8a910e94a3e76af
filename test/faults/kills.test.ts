import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  countWrites,
  createMigratedDatabase,
  FakeEmbedder,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  openReference,
  readVectors,
  workerOn,
  wrongKeys,
} from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';
import { startWorkerProcess, type WorkerProcess } from '../support/worker-process.ts';

const ROWS = 3_000;
let database: MigratedDatabase;
let written: Awaited<ReturnType<typeof countWrites>>;
let samples: Map<string, Float32Array>;
const processes: WorkerProcess[] = [];

beforeAll(async () => {
  const reference = openReference();
  const ids = Array.from({ length: 30 }, (_, i) => 1 + i * 101);
  const vectors = await reference.embed(ids.map((id) => `number ${id}`));
  samples = new Map(ids.map((id, i) => [String(id), vectors[i]!]));
  await reference.close();
  database = await createMigratedDatabase();
  await database.query(`create table doc (id int primary key, body text);
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
  written = await countWrites(database, 'doc_embedding');
});
afterAll(() => database.drop());
afterEach(() => {
  for (const { child } of processes.splice(0)) child.kill('SIGKILL');
});

async function fill(): Promise<void> {
  await database.query(`truncate doc, write_log; delete from embedder.worker_process;
    insert into doc select i, 'number ' || i from generate_series(1, ${ROWS}) i`);
}

async function start(): Promise<WorkerProcess> {
  const started = await startWorkerProcess({
    connection: database.url,
    engine: { engines: 1, threads: 1 },
    window: 256,
  });
  processes.push(started);
  return started;
}

/** Every row has one vector, the samples have that of their text, and nothing is queued or failed. */
async function allDone(): Promise<void> {
  await pollUntil(async () => (await jobCount(database)) === 0, {
    what: 'an empty queue',
    deadline: 100_000,
    every: 100,
  });
  const { rows } = await database.query(
    `select (select count(*)::int from doc_embedding) as vectors, (select count(distinct id)::int from doc_embedding) as rows,
      (select count(*)::int from embedder.failed_job) as failed`,
  );
  expect(rows).toEqual([{ vectors: ROWS, rows: ROWS, failed: 0 }]);
  const found = await readVectors(
    database,
    `select id, embedding from doc_embedding where id = any (array[${[...samples.keys()].join()}])`,
  );
  expect(wrongKeys(found, samples, 0.985)).toEqual([]);
}

const childrenOf = (pid: number) =>
  execFileSync('ps', ['-o', 'pid=', '--ppid', String(pid)], { encoding: 'utf8' })
    .trim()
    .split(/\s+/)
    .map(Number);
const lives = (pid: number) => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

describe('kill -9 in the middle of a drain', () => {
  it('of the engine, twice: every row is written once, and no attempt is booked as failed', async () => {
    await fill();
    const worker = workerOn(database, { window: 256 });
    let kills = 0;
    worker.events.on('completed', () => {
      const [pid] = worker.sessions.flatMap(({ pids }) => pids);
      if (kills < 2 && worker.stats.embedded > kills * 1_000 && pid !== undefined) {
        kills++;
        process.kill(pid, 'SIGKILL');
      }
    });
    const result = await worker.drain();
    expect(kills).toBe(2);
    expect(result).toMatchObject({ embedded: ROWS, retried: 0, dead: 0, superseded: 0, failing: [] });
    await allDone();
    expect(await written()).toEqual({ rows: ROWS, writes: ROWS });
  }, 120_000);

  it('of the worker: its engine ends, its jobs come back with the attempt counted, another worker does them', async () => {
    await fill();
    const victim = await start();
    await once(victim.events, 'completed');
    const engines = childrenOf(victim.child.pid!);
    expect(engines).toHaveLength(1);
    victim.child.kill('SIGKILL');
    expect(await victim.exited).toBe('SIGKILL');
    await pollUntil(() => !engines.some(lives), { what: 'the end of the engine' });
    const { rows: left } = await database.query<{ leased: number; total: number }>(
      `select count(leased_by)::int as leased, count(*)::int as total from embedder.job`,
    );
    expect(left[0]!.leased).toBeGreaterThan(0);
    // Its heartbeat is overdue, as it is after ten seconds.
    await database.query(`update embedder.worker_process set beat_at = now() - interval '11 seconds'`);
    const rescuer = await start();
    const { rows: register } = await database.query(`select pid, alive from embedder.worker`);
    expect(register).toEqual([{ pid: rescuer.child.pid, alive: true }]);
    await allDone();
    expect(rescuer.told.filter(({ event }) => event === 'rescued')).toEqual([
      { event: 'rescued', value: left[0]!.leased },
    ]);
    const stats = await rescuer.stop();
    expect(stats).toMatchObject({ embedded: left[0]!.total, superseded: 0 });
    // What the victim had committed was not done again.
    expect(await written()).toEqual({ rows: ROWS, writes: ROWS });
  }, 120_000);
});

describe('SIGTERM in the middle of a drain', () => {
  it('ends with 0, no lease left, no attempt counted, and what was not done is still queued', async () => {
    await fill();
    const worker = await start();
    await once(worker.events, 'completed');
    const stats = await worker.stop();
    const { rows } = await database.query(
      `select count(*)::int + ${stats.embedded} as total, count(*) > 0 as some, count(leased_by)::int as leased, max(attempts) as attempts,
        bool_and(due_at <= now()) as due, (select count(*)::int from embedder.worker) as workers,
        (select count(*)::int from doc_embedding) = ${stats.embedded} as kept from embedder.job`,
    );
    expect(rows).toEqual([
      { total: ROWS, some: true, leased: 0, attempts: 0, due: true, workers: 0, kept: true },
    ]);
    const next = await start();
    await allDone();
    await next.stop();
    expect(await written()).toEqual({ rows: ROWS, writes: ROWS });
  }, 120_000);
});

describe('a lease that runs out', () => {
  const few = async () => {
    await database.query(
      `truncate doc, write_log; delete from embedder.worker_process; insert into doc select i, 'number ' || i from generate_series(1, 5) i`,
    );
  };
  const right = async () => {
    const found = await readVectors(database, 'select id, embedding from doc_embedding');
    expect(
      wrongKeys(found, new Map([1, 2, 3, 4, 5].map((id) => [String(id), fakeVector(`number ${id}`)]))),
    ).toEqual([]);
    expect(await jobCount(database)).toBe(0);
  };

  it('is taken over; the late result of the first changes nothing', async () => {
    await few();
    const slow = new FakeEmbedder();
    slow.hold();
    // With five rows held and a window of four it claims nothing, so that the second worker gets them.
    const first = workerOn(database, { embedder: slow, window: 4 });
    await first.start();
    await pollUntil(() => slow.calls.flat().length === 5);
    await database.query('update embedder.job set due_at = now()');
    const second = workerOn(database, { embedder: new FakeEmbedder() });
    expect(await second.drain()).toMatchObject({ embedded: 5 });
    await database.query(`update doc set body = body where id = 1`);
    slow.release();
    await pollUntil(() => first.stats.superseded === 5);
    await first.stop();
    await right();
    expect(await written()).toEqual({ rows: 5, writes: 5 });
  });

  it('is taken over; when the first is done before the second, that counts', async () => {
    await few();
    const [slow, slower] = [new FakeEmbedder(), new FakeEmbedder()];
    slow.hold();
    slower.hold();
    const [first, second] = [slow, slower].map((embedder) => workerOn(database, { embedder, window: 4 }));
    await first!.start();
    await pollUntil(() => slow.calls.flat().length === 5);
    await database.query('update embedder.job set due_at = now()');
    await second!.start();
    await pollUntil(() => slower.calls.flat().length === 5);
    slow.release();
    await pollUntil(() => first!.stats.embedded === 5);
    slower.release();
    await pollUntil(() => second!.stats.superseded === 5);
    await Promise.all([first!.stop(), second!.stop()]);
    await right();
    expect(await written()).toEqual({ rows: 5, writes: 5 });
  });

  it('is renewed while the rows are worked on', async () => {
    await few();
    const slow = new FakeEmbedder();
    slow.hold();
    const worker = workerOn(database, { embedder: slow, leaseSeconds: 5, window: 4 });
    await worker.start();
    await pollUntil(() => slow.calls.flat().length === 5);
    const end = async () =>
      (
        await database.query<{ at: Date }>('select min(due_at) as at from embedder.job')
      ).rows[0]!.at.getTime();
    const before = await end();
    await pollUntil(async () => (await end()) > before, {
      what: 'a renewal before the lease ends',
      deadline: 4_500,
    });
    slow.release();
    await pollUntil(() => worker.stats.embedded === 5);
    await worker.stop();
    await right();
  });

  it('again and again, since the row kills its worker, ends in a dead letter', async () => {
    await few();
    await database.query(`update embedder.job set attempts = 5 where row_key = '3'`);
    const worker = workerOn(database, { embedder: new FakeEmbedder() });
    expect(await worker.drain()).toMatchObject({ embedded: 4, dead: 1 });
    const { rows } = await database.query('select row_key, error from embedder.failed_job');
    expect(rows).toEqual([{ row_key: '3', error: 'the worker that held this row died, 5 times' }]);
    await database.query('delete from embedder.dead_letter');
  });
});
