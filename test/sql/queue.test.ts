import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { completeJobs, readInputs } from '../../src/queue/batch.ts';
import { claimJobs, failJobs, heldJobs, type Job, releaseJobs, renewLeases } from '../../src/queue/jobs.ts';
import {
  createMigratedDatabase,
  fakeVector,
  type MigratedDatabase,
  queued,
  readVectors,
} from '../support/pgembedder.ts';

let database: MigratedDatabase;
let vectorOid: number;
let first: number;
let second: number;

const me = { workerId: 1001, leaseSeconds: 60 };
const other = { workerId: 1002, leaseSeconds: 60 };
const backoff = { baseSeconds: 10, limitSeconds: 100 };

beforeAll(async () => {
  database = await createMigratedDatabase();
  const { rows } = await database.query<{ oid: number }>(`select 'vector'::regtype::oid::int as oid`);
  vectorOid = rows[0]!.oid;
  await database.query(`create table doc (id int primary key, body text, embedding vector(384));
    select embedder.create_pipeline('doc', 'body', name => 'first', max_attempts => 2);
    select embedder.create_pipeline('doc', 'body', name => 'second', target_column => 'embedding');
    -- Results without a hash, as these tests write them, are stale to the backfill of a column that was there before.
    delete from embedder.backfill_run`);
  const ids = await database.query<{ id: number }>('select id from embedder.pipeline order by name');
  [first, second] = ids.rows.map((row) => row.id) as [number, number];
});
afterAll(() => database.drop());

beforeEach(async () => {
  await database.query(`truncate doc, embedder.dead_letter; delete from embedder.job;
    update embedder.pipeline set paused = false;
    insert into doc select i, 'text ' || i from generate_series(1, 4) i`);
});

const claim = (pipelines: number[], limit = 100, claimant = me) =>
  claimJobs(database.kysely, claimant, pipelines, limit);
const keys = (jobs: readonly Job[]) => jobs.map((job) => job.rowKey).sort();
const jobRows = async (pipeline = first) =>
  (
    await database.query<{
      row_key: string;
      attempts: number;
      leased_by: number | null;
      seconds: number;
      last_error: string | null;
    }>(
      `select row_key, attempts, leased_by, extract(epoch from due_at - now())::float8 as seconds, last_error
       from embedder.job where pipeline_id = $1 order by row_key`,
      [pipeline],
    )
  ).rows;

/** Runs `work` while another transaction has done `statement` and is open. */
async function besideOpen(statement: string, work: (holder: pg.PoolClient) => Promise<void>): Promise<void> {
  const holder = await database.pool.connect();
  try {
    await holder.query('begin');
    await holder.query(statement);
    await work(holder);
  } finally {
    await holder.query('rollback');
    holder.release();
  }
}

/** What the workers call must never wait for somebody's transaction. */
async function withoutWaiting<T>(work: Promise<T>): Promise<T> {
  const late = Symbol('late');
  const result = await Promise.race([
    work,
    new Promise<typeof late>((resolve) => setTimeout(resolve, 3_000, late)),
  ]);
  if (result === late) throw new Error('it waits for a lock');
  return result as T;
}

describe('claim_jobs', () => {
  it('gives each job once, counts the attempt and sets the lease', async () => {
    const mine = await claim([first], 3);
    const theirs = await claim([first], 3, other);
    expect([...keys(mine), ...keys(theirs)].sort()).toEqual(['1', '2', '3', '4']);
    expect(mine).toHaveLength(3);
    expect(mine.map((job) => job.attempts)).toEqual([1, 1, 1]);
    const rows = await jobRows();
    expect(rows.filter((row) => row.leased_by === me.workerId)).toHaveLength(3);
    expect(rows.filter((row) => row.leased_by === other.workerId)).toHaveLength(1);
    for (const row of rows) expect(row.seconds).toBeGreaterThan(50);
    expect(await claim([first])).toEqual([]);
  });

  it('takes the pipelines in the order given and the oldest jobs first', async () => {
    await database.query(`update embedder.job set due_at = now() - interval '1 minute' where row_key = '3'`);
    expect((await claim([second, first], 5)).map((job) => job.pipelineId)).toEqual([
      second,
      second,
      second,
      second,
      first,
    ]);
    await database.query(
      `update embedder.job set leased_by = null, due_at = now() - make_interval(secs => row_key::int)`,
    );
    expect((await claim([first], 2)).map((job) => job.rowKey)).toEqual(['4', '3']);
  });

  it('looks back no further than it is told, for each pipeline', async () => {
    await database.query(
      `update embedder.job set due_at = now() - case when row_key < '3' then interval '1 hour' else interval '1 s' end`,
    );
    const jobs = await claimJobs(database.kysely, me, [first, second], 100, [60, 7_200]);
    expect(keys(jobs.filter(({ pipelineId }) => pipelineId === first))).toEqual(['3', '4']);
    expect(keys(jobs.filter(({ pipelineId }) => pipelineId === second))).toEqual(['1', '2', '3', '4']);
    expect(keys(await claimJobs(database.kysely, me, [first], 100, [null]))).toEqual(['1', '2']);
  });

  it('takes nothing of a paused pipeline, of one not asked for, and nothing not yet due', async () => {
    await database.query(`select embedder.pause_pipeline('first')`);
    await database.query(`update embedder.job set due_at = now() + interval '1 second' where row_key <> '2'`);
    expect((await claim([first, second])).map((job) => [job.pipelineId, job.rowKey])).toEqual([
      [second, '2'],
    ]);
  });

  it('takes a job again when its lease has run out, in the same attempt', async () => {
    await claim([first]);
    await database.query(`update embedder.job set due_at = now() where row_key in ('1', '2')`);
    const again = await claim([first], 100, other);
    expect(again.map((job) => [job.rowKey, job.attempts]).sort()).toEqual([
      ['1', 1],
      ['2', 1],
    ]);
  });

  it('passes by what an open transaction has changed', async () => {
    await besideOpen(`update doc set body = 'changing' where id = 2`, async () => {
      expect(keys(await withoutWaiting(claim([first])))).toEqual(['1', '3', '4']);
    });
  });
});

describe('read', () => {
  it('gives texts in the order of the jobs, null for rows without', async () => {
    await database.query(`update doc set body = null where id = 2`);
    const jobs = ['3', '404', '2', '1'].map((rowKey) => ({
      pipelineId: first,
      rowKey,
      version: 0,
      attempts: 1,
      priority: 'normal' as const,
    }));
    const inputs = await readInputs(database.kysely, jobs, 6);
    expect(inputs.map(({ text }) => text)).toEqual(['text 3', null, null, 'text 1']);
  });
});

describe.each(['first', 'second'] as const)('complete, pipeline %s', (name) => {
  const pipeline = () => (name === 'first' ? first : second);
  const complete = (jobs: readonly Job[], text = (job: Job): string | null => `text ${job.rowKey}`) =>
    completeJobs(
      database.kysely,
      { id: pipeline(), task: 'feature-extraction', chunked: false, sparse: false, told: null },
      jobs.map((job) => {
        const of = text(job);
        return { job, sourceHash: null, output: of === null ? null : fakeVector(of) };
      }),
      'all-MiniLM-L6-v2',
      vectorOid,
    );
  const written = async () => {
    const vectors = await readVectors(
      database,
      name === 'first'
        ? 'select id, embedding from first_embedding'
        : 'select id, embedding from doc where embedding is not null',
    );
    return [...vectors].map(([key, vector]) => [key, vector![0]!.toFixed(4)]).sort();
  };
  const wanted = (...texts: string[]) =>
    texts.map((text) => [text.slice(-1), fakeVector(text)[0]!.toFixed(4)]);

  it('writes and deletes what is still as it was claimed', async () => {
    const jobs = await claim([pipeline()]);
    await database.query(`update doc set body = 'newer 2' where id = 2; delete from doc where id = 3`);
    expect([...(await complete(jobs))].sort()).toEqual(['1', '4']);
    expect(await written()).toEqual(wanted('text 1', 'text 4'));
    expect(await queued(database, name)).toEqual(['2']);
    const [again] = await claim([pipeline()]);
    expect([...(await complete([again!], () => 'newer 2'))]).toEqual(['2']);
    expect(await written()).toEqual(wanted('text 1', 'newer 2', 'text 4'));
    // Once more does nothing.
    expect((await complete(jobs, () => 'wrong')).size).toBe(0);
    expect(await written()).toEqual(wanted('text 1', 'newer 2', 'text 4'));
  });

  it('empties the target where the vector is null', async () => {
    await complete(await claim([pipeline()]));
    await database.query(`select embedder.enqueue_embed('${name}', 2)`);
    expect([...(await complete(await claim([pipeline()]), () => null))]).toEqual(['2']);
    expect(await written()).toEqual(wanted('text 1', 'text 3', 'text 4'));
    expect(await queued(database, name)).toEqual([]);
  });

  it('takes the late result of a worker whose lease ran out, and nothing from the next one', async () => {
    const mine = await claim([pipeline()]);
    await database.query(`update embedder.job set due_at = now()`);
    const theirs = await claim([pipeline()], 100, other);
    expect((await complete(mine)).size).toBe(4);
    expect((await complete(theirs, () => 'wrong')).size).toBe(0);
    expect(await written()).toEqual(wanted('text 1', 'text 2', 'text 3', 'text 4'));
  });

  it('leaves out a row whose text an open transaction has changed, and does not wait for it', async () => {
    const jobs = await claim([pipeline()]);
    await besideOpen(`update doc set body = 'changing' where id = 2`, async (holder) => {
      expect([...(await withoutWaiting(complete(jobs)))].sort()).toEqual(['1', '3', '4']);
      await holder.query('commit');
      expect((await complete(jobs)).size).toBe(0);
      expect(await queued(database, name)).toEqual(['2']);
    });
  });

  it('buries no row with a dead letter that has come right', async () => {
    await database.query(
      `insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) values ($1, '1', 5, 'e'), ($1, '9', 5, 'e')`,
      [pipeline()],
    );
    await complete(await claim([pipeline()]));
    const { rows } = await database.query('select row_key from embedder.failed_job');
    expect(rows).toEqual([{ row_key: '9' }]);
  });
});

describe('leases', () => {
  it('are held, renewed and given back by their holder only', async () => {
    const jobs = await claim([first]);
    await database.query(`update embedder.job set due_at = now() + interval '1 second'`);
    await database.query(`update doc set body = 'newer' where id = 1`);
    expect([...(await heldJobs(database.kysely, me, jobs))].sort()).toEqual(['2', '3', '4']);
    expect((await heldJobs(database.kysely, other, jobs)).size).toBe(0);
    await renewLeases(database.kysely, other, jobs);
    await releaseJobs(database.kysely, other, jobs, 0);
    expect((await jobRows()).map((row) => row.leased_by)).toEqual([null, 1001, 1001, 1001]);
    await renewLeases(database.kysely, me, jobs);
    const renewed = await jobRows();
    expect(renewed.slice(1).every((row) => row.seconds > 50)).toBe(true);
    expect(renewed[0]!.seconds).toBeLessThan(1);
    await releaseJobs(database.kysely, me, jobs, 5);
    const released = await jobRows();
    expect(released.map((row) => [row.leased_by, row.attempts])).toEqual(released.map(() => [null, 0]));
    for (const row of released.slice(1)) expect(row.seconds).toBeGreaterThan(3);
  });

  it('of a worker that is gone are freed, and no attempt is counted of what it had not begun', async () => {
    const jobs = await claim([first], 3);
    await database.query(`insert into embedder.worker_process (id, hostname, pid, version, beat_at) overriding system value
      values (1001, 'h', 1, '0', now() - interval '11 seconds'), (1002, 'h', 2, '0', now() - interval '5 seconds')`);
    await claim([first], 1, other);
    const { rows } = await database.query<{ freed: string }>('select embedder.rescue_jobs() as freed');
    expect(rows).toEqual([{ freed: '3' }]);
    const workers = await database.query('select id, alive from embedder.worker');
    expect(workers.rows).toEqual([{ id: 1002, alive: true }]);
    const freed = (await jobRows()).filter((row) => row.leased_by === null);
    expect(freed.map((row) => [row.row_key, row.attempts])).toEqual(keys(jobs).map((key) => [key, 0]));
    await database.query('delete from embedder.worker_process');
  });

  it('do not wait for an open transaction: neither renewed, given back, failed nor freed', async () => {
    const jobs = await claim([first]);
    await besideOpen(`update doc set body = 'changing' where id = 2`, async () => {
      await database.query(
        `update embedder.job set due_at = now() + interval '1 second' where row_key <> '2'`,
      );
      await withoutWaiting(renewLeases(database.kysely, me, jobs));
      expect((await jobRows()).filter((row) => row.seconds > 50).map((row) => row.row_key)).toEqual([
        '1',
        '2',
        '3',
        '4',
      ]);
      const failed = await withoutWaiting(
        failJobs(
          database.kysely,
          me,
          jobs.filter((job) => job.rowKey !== '1').map((job) => ({ job, error: 'e' })),
          backoff,
        ),
      );
      expect(failed).toEqual({ dead: 0, retried: 2 });
      await withoutWaiting(releaseJobs(database.kysely, me, jobs, 0));
      expect((await jobRows()).map((row) => row.leased_by)).toEqual([null, 1001, null, null]);
      await database.query(`insert into embedder.worker_process (id, hostname, pid, version, beat_at) overriding system value
        values (1001, 'h', 1, '0', now() - interval '11 seconds')`);
      await withoutWaiting(database.query('select embedder.rescue_jobs()'));
    });
    // The change was rolled back, so the lease is what it was, and its holder gone: the next look frees it.
    expect((await jobRows())[1]).toMatchObject({ row_key: '2', leased_by: 1001, attempts: 1 });
    const { rows } = await database.query('select embedder.rescue_jobs()::int as freed');
    expect(rows).toEqual([{ freed: 1 }]);
    expect((await jobRows())[1]).toMatchObject({ row_key: '2', leased_by: null, attempts: 0 });
  });
});

describe('fail_jobs', () => {
  const fail = (jobs: readonly Job[], claimant = me) =>
    failJobs(
      database.kysely,
      claimant,
      jobs.map((job) => ({ job, error: `why ${job.rowKey}` })),
      backoff,
    );

  it('waits twice as long each time, less a random half, and at most the limit', async () => {
    await database.query(`update embedder.pipeline set max_attempts = 1000`);
    for (const [attempts, most] of [
      [1, 10],
      [2, 20],
      [4, 80],
      [5, 100],
      [60, 100],
      [999, 100],
    ] as const) {
      await database.query(`update embedder.job set due_at = now(), leased_by = null, attempts = $1`, [
        attempts - 1,
      ]);
      const jobs = await claim([first]);
      expect(await fail(jobs)).toEqual({ dead: 0, retried: 4 });
      const rows = await jobRows();
      for (const row of rows) {
        expect(row).toMatchObject({ leased_by: null, attempts, last_error: `why ${row.row_key}` });
        expect(row.seconds).toBeGreaterThan(most / 2 - 1);
        expect(row.seconds).toBeLessThanOrEqual(most);
      }
      expect(new Set(rows.map((row) => row.seconds)).size).toBeGreaterThan(1);
    }
    await database.query(`update embedder.pipeline set max_attempts = 2`);
  });

  it('buries a job that has used up its attempts, and books nothing for one that is not held', async () => {
    const jobs = await claim([first]);
    expect(await fail(jobs, other)).toEqual({ dead: 0, retried: 0 });
    await database.query(`update doc set body = 'newer' where id = 4`);
    expect(await fail(jobs)).toEqual({ dead: 0, retried: 3 });
    await database.query('update embedder.job set due_at = now()');
    const again = await claim([first]);
    expect(await fail(again)).toEqual({ dead: 3, retried: 1 });
    const { rows } = await database.query(
      'select pipeline, row_key, attempts, error from embedder.failed_job order by row_key',
    );
    expect(rows).toEqual(
      ['1', '2', '3'].map((row_key) => ({
        pipeline: 'first',
        row_key,
        attempts: 2,
        error: `why ${row_key}`,
      })),
    );
    expect(await queued(database, 'first')).toEqual(['4']);
  });
});

describe('retry_failed', () => {
  beforeEach(async () => {
    await database.query('delete from embedder.job');
    await database.query(`insert into embedder.dead_letter (pipeline_id, row_key, attempts, error)
      values (${first}, '1', 2, 'e'), (${first}, '2', 2, 'e'), (${second}, '1', 2, 'e')`);
  });
  const retry = async (argument: string) =>
    (await database.query<{ n: string }>(`select embedder.retry_failed(${argument}) as n`)).rows[0]!.n;

  it('brings back the dead letters of one pipeline, with all their attempts', async () => {
    expect(await retry(`'first'`)).toBe('2');
    expect((await jobRows()).map((row) => [row.row_key, row.attempts, row.last_error])).toEqual([
      ['1', 0, null],
      ['2', 0, null],
    ]);
    const { rows } = await database.query('select pipeline, row_key from embedder.failed_job');
    expect(rows).toEqual([{ pipeline: 'second', row_key: '1' }]);
    expect(await retry(`'first'`)).toBe('0');
  });

  it('of all pipelines, and of none that is not there', async () => {
    expect(await retry('')).toBe('3');
    expect(await queued(database, 'second')).toEqual(['1']);
    await expect(database.query(`select embedder.retry_failed('nope')`)).rejects.toMatchObject({
      code: '42704',
    });
  });
});
