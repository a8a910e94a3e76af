import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  beginBatch,
  type Claimant,
  claimJobs,
  claimSuspects,
  type Job,
  releaseJobs,
} from '../../src/queue/jobs.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  jobCount,
  type MigratedDatabase,
  workerOn,
} from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';

const ROWS = 100;
let database: MigratedDatabase;
let pipeline: number;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table doc (id int primary key, body text);
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
  const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
  pipeline = rows[0]!.id;
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.query(`delete from embedder.worker_process; delete from doc; delete from embedder.dead_letter;
    insert into doc select i, 'text ' || i from generate_series(1, ${ROWS}) i`);
});

async function register(): Promise<Claimant> {
  const { rows } = await database.query<{ id: number }>(
    `insert into embedder.worker_process (hostname, pid, version) values ('h', 1, '0') returning id`,
  );
  return { workerId: rows[0]!.id, leaseSeconds: 60 };
}

/** Ends a worker without a word, and has its jobs freed. */
async function die({ workerId }: Claimant): Promise<void> {
  await database.query(
    `update embedder.worker_process set beat_at = now() - interval '1 minute' where id = $1`,
    [workerId],
  );
  await database.query('select embedder.rescue_jobs()');
}

/** A worker that takes what is due, ordinary jobs first, until it begins the row that kills it. False: it lives. */
async function work(killer: string | undefined, window = 40): Promise<boolean> {
  const me = await register();
  for (let batch = 1; ; batch++) {
    let jobs: Job[] = await claimJobs(database.kysely, me, [pipeline], window);
    if (jobs.length === 0) jobs = await claimSuspects(database.kysely, me, [pipeline]);
    if (jobs.length === 0) return true;
    await beginBatch(database.kysely, me, batch, jobs, [batch - 1]);
    if (jobs.some(({ rowKey }) => rowKey === killer)) {
      await die(me);
      return false;
    }
    await database.query('delete from embedder.job where row_key = any ($1)', [
      jobs.map(({ rowKey }) => rowKey),
    ]);
  }
}

const dead = async () =>
  (await database.query<{ row_key: string; error: string }>('select row_key, error from embedder.failed_job'))
    .rows;

describe('a worker that dies', () => {
  it('again and again with healthy rows under way makes no dead letter, and costs them no attempt', async () => {
    for (let kill = 0; kill < 6; kill++) {
      const me = await register();
      let jobs = await claimJobs(database.kysely, me, [pipeline], 2_048);
      if (jobs.length === 0) jobs = await claimSuspects(database.kysely, me, [pipeline]);
      await beginBatch(database.kysely, me, 1, jobs, []);
      await die(me);
    }
    expect(await dead()).toEqual([]);
    const { rows } = await database.query(
      'select count(*)::int as n, max(attempts) as attempts, count(leased_by)::int as leased from embedder.job',
    );
    expect(rows).toEqual([{ n: ROWS, attempts: expect.any(Number), leased: 0 }]);
    expect(await drain(database)).toMatchObject({ embedded: ROWS, dead: 0 });
  });

  it('of one row has just that row buried, its neighbours are done', async () => {
    for (let deaths = 0; deaths < 40; deaths++) {
      if (await work('13')) break;
      await database.query('update embedder.job set due_at = now() where leased_by is null');
    }
    expect(await dead()).toEqual([{ row_key: '13', error: 'the worker that held this row died, 5 times' }]);
    expect(await jobCount(database)).toBe(0);
  });

  it('makes nothing suspect that it had claimed and not begun', async () => {
    const me = await register();
    const jobs = await claimJobs(database.kysely, me, [pipeline], 60);
    await beginBatch(database.kysely, me, 1, jobs.slice(0, 10), []);
    await beginBatch(database.kysely, me, 2, jobs.slice(10, 14), [1]);
    await die(me);
    const { rows } = await database.query<{ row_key: string }>(
      'select row_key from embedder.job where suspect is not null',
    );
    expect(rows.map((row) => row.row_key).sort()).toEqual(
      jobs
        .slice(10, 14)
        .map(({ rowKey }) => rowKey)
        .sort(),
    );
    const { rows: groups } = await database.query(
      'select count(*)::int as n, max(attempts) as attempts from embedder.job where suspect is not null group by suspect',
    );
    expect(groups).toEqual([
      { n: 2, attempts: 0 },
      { n: 2, attempts: 0 },
    ]);
  });

  it('after two others is found out by the groups that those left', async () => {
    for (let deaths = 0; deaths < 2; deaths++) await work('7');
    const me = await register();
    const jobs = await claimSuspects(database.kysely, me, [pipeline]);
    expect(jobs.length).toBeLessThanOrEqual(20);
    await releaseJobs(database.kysely, me, jobs, 0);
    // Given back, it is still a group.
    expect(await claimSuspects(database.kysely, me, [pipeline])).toHaveLength(jobs.length);
  });
});

describe('suspects', () => {
  it('are worked on alone: nothing is claimed beside them', async () => {
    const me = await register();
    const jobs = await claimJobs(database.kysely, me, [pipeline], 10);
    await beginBatch(database.kysely, me, 1, jobs, []);
    await die(me);
    const embedder = new FakeEmbedder();
    const sizes: number[] = [];
    embedder.on('call', (texts) => sizes.push(texts.length));
    const worker = workerOn(database, { embedder });
    expect(await worker.drain()).toMatchObject({ embedded: ROWS });
    expect(sizes).toEqual([ROWS - 10, 5, 5]);
  });
});

describe('a drain', () => {
  it('waits for the jobs of a worker that died a moment ago, and does them', async () => {
    const me = await register();
    await claimJobs(database.kysely, me, [pipeline], 60);
    await database.query(
      `update embedder.worker_process set beat_at = now() - interval '8 seconds' where id = $1`,
      [me.workerId],
    );
    expect(await drain(database)).toMatchObject({ embedded: ROWS, heldElsewhere: 0 });
    expect(await jobCount(database)).toBe(0);
  });

  it('leaves a living worker its rows, and says how many', async () => {
    const embedder = new FakeEmbedder();
    embedder.hold();
    const other = workerOn(database, { embedder, window: 30 });
    const call = embedder.nextCall();
    await other.start();
    await call;
    await pollUntil(async () => (await jobCount(database)) === ROWS);
    const held = async () =>
      (await database.query('select from embedder.job where leased_by is not null')).rowCount!;
    const result = await drain(database);
    expect(result.heldElsewhere).toBe(await held());
    expect(result.embedded + result.heldElsewhere).toBe(ROWS);
    embedder.release();
    await pollUntil(async () => (await jobCount(database)) === 0);
    await other.stop();
  });
});

describe('a worker that ends while somebody has its jobs locked', () => {
  it('leaves none leased to nobody when the lock is gone', async () => {
    const embedder = new FakeEmbedder();
    embedder.hold();
    const worker = workerOn(database, { embedder, window: ROWS, stopSeconds: 30 });
    const call = embedder.nextCall();
    await worker.start();
    await call;
    const holder = await database.pool.connect();
    await holder.query(`begin; update doc set body = 'other' where id in (1, 50, 99)`);
    const stopped = worker.stop();
    embedder.release();
    await pollUntil(async () => (await database.query('select from embedder.worker')).rowCount === 0);
    await holder.query('rollback');
    holder.release();
    await stopped;
    const { rows } = await database.query('select from embedder.job where leased_by is not null');
    expect(rows).toEqual([]);
  });
});
