import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import type { Worker } from '../../../src/worker/worker.ts';
import {
  countWrites,
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  readVectors,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { startWorkerProcess, type WorkerProcess } from '../../support/worker-process.ts';

let database: MigratedDatabase;
const workers: Worker[] = [];
const processes: WorkerProcess[] = [];
const embedders: FakeEmbedder[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
afterEach(async () => {
  for (const embedder of embedders.splice(0)) embedder.release();
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  for (const { child } of processes.splice(0)) child.kill('SIGKILL');
  await database.query(`select embedder.drop_pipeline(name) from embedder.pipeline where live;
    drop schema public cascade; create schema public; create extension if not exists vector;
    delete from embedder.worker_process`);
  await rangesOf(10_000);
});

/** From now on a range has so many rows. */
const rangesOf = (rows: number) =>
  database.query(
    `create or replace function embedder.rows_per_range() returns bigint language sql immutable return ${rows}`,
  );

/** Rows 1 to `rows` with "text <id>", and a pipeline that has not looked at them. */
async function make(rows: number, rest = ''): Promise<void> {
  await database.query(`create table doc (id int primary key, body text, lang text default 'en');
    insert into doc select i, 'text ' || i from generate_series(1, ${rows}) i;
    select embedder.create_pipeline('doc', 'body', index => 'none', enqueue_existing => false${rest})`);
}

const backfill = async (rest = '') =>
  Number((await database.query<{ n: string }>(`select embedder.backfill('doc'${rest}) as n`)).rows[0]!.n);

async function startWorker(embedder: FakeEmbedder, window = 100): Promise<Worker> {
  const worker = workerOn(database, { embedder, window });
  workers.push(worker);
  embedders.push(embedder);
  await worker.start();
  return worker;
}

const sidecarKeys = async (sidecar = 'doc_embedding', key = 'id') =>
  (await database.query<{ key: string }>(`select ${key}::text as key from ${sidecar} order by 1`)).rows.map(
    (row) => row.key,
  );
const count = async (what: string) =>
  Number((await database.query<{ n: string }>(`select count(*) as n from ${what}`)).rows[0]!.n);
const empty = () =>
  pollUntil(async () => (await jobCount(database)) === 0, {
    what: 'an empty queue',
    deadline: 40_000,
    every: 50,
  });

/** Every row with text, and only those, has the vector of its text. */
async function allRight(where = 'true'): Promise<void> {
  const { rows } = await database.query<{ id: number; body: string }>(
    `select id, body from doc where body ~ '\\S' and (${where})`,
  );
  const wanted = new Map(rows.map(({ id, body }) => [String(id), fakeVector(body)]));
  expect(wrongKeys(await readVectors(database, 'select id, embedding from doc_embedding'), wanted)).toEqual(
    [],
  );
}

describe('ranges', () => {
  it.each([
    ['int', 'i - 60', ''],
    ['bigint', 'i * 10000000000', ''],
    ['text', `md5(i::text) || case i % 3 when 0 then 'ä' when 1 then ' "x",' else '''' end`, ''],
    ['text', `chr(64 + i)`, ' collate "C"'],
    ['uuid', 'md5(i::text)::uuid', ''],
    ['timestamptz', `'2026-03-29 00:00Z'::timestamptz + i * interval '1 minute 0.000001 s'`, ''],
    ['numeric', 'i / 7.0', ''],
  ])('of a key of type %s hold each row exactly once (%s)', async (type, expression, rest) => {
    await rangesOf(10);
    await database.query(`create table doc (id ${type}${rest} primary key, body text);
      insert into doc select ${expression}, 'text ' || i from generate_series(1, 120) i;
      select embedder.create_pipeline('doc', 'body', index => 'none', enqueue_existing => false)`);
    expect(await backfill()).toBe(13);
    const embedder = new FakeEmbedder();
    // A window that does not divide the ranges: each is walked in several steps, with a checkpoint between.
    expect(await drain(database, { embedder, window: 7 })).toMatchObject({ embedded: 120, failing: [] });
    expect(embedder.calls.flat().sort()).toEqual(
      Array.from({ length: 120 }, (_, i) => `text ${i + 1}`).sort(),
    );
    expect(await sidecarKeys()).toHaveLength(120);
    expect(await count('embedder.backfill_run')).toBe(0);
  });

  it('of a key of three columns hold each row exactly once', async () => {
    await rangesOf(10);
    await database.query(`create table doc (a text, "B b" int, c date, body text, primary key (c, a, "B b"));
      insert into doc select chr(65 + i % 3), i % 4, '2026-01-01'::date + i % 5, 'text ' || i from generate_series(0, 59) i;
      select embedder.create_pipeline('doc', 'body', index => 'none', enqueue_existing => false)`);
    expect(await backfill()).toBe(7);
    const embedder = new FakeEmbedder();
    expect(await drain(database, { embedder, window: 4 })).toMatchObject({ embedded: 60, failing: [] });
    expect(new Set(embedder.calls.flat()).size).toBe(60);
    const { rows } = await database.query(`select from doc join doc_embedding using (c, a, "B b")`);
    expect(rows).toHaveLength(60);
  });

  it('of a large table come from a sample and still hold each row once', async () => {
    await rangesOf(50);
    await make(30_000);
    await database.query('analyze doc');
    const ranges = await backfill();
    expect(ranges).toBeGreaterThan(100);
    // Rows beyond both ends and between the cuts, of which the sample knows nothing.
    await database.query(`alter table doc disable trigger user; insert into doc values (-5, 'low'), (40000, 'high');
      alter table doc enable trigger user`);
    const embedder = new FakeEmbedder();
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 30_002 });
    expect(new Set(embedder.calls.flat()).size).toBe(30_002);
    expect(embedder.calls.flat()).toHaveLength(30_002);
    expect(await count('doc_embedding')).toBe(30_002);
  });

  it('of a table without rows are none that stay', async () => {
    await make(0);
    await backfill();
    expect(await drain(database)).toMatchObject({ embedded: 0, failing: [] });
    expect(await jobCount(database)).toBe(0);
  });

  it('without a row that needs a job do not end a drain', async () => {
    await rangesOf(10);
    await make(1_000, `, target_column => 'e'`);
    await database.query(
      `update doc set e = array_fill(0.5, array[384])::vector where id < 995; delete from embedder.job`,
    );
    expect(await backfill()).toBe(101);
    expect(await drain(database)).toMatchObject({ embedded: 6 });
    expect(await jobCount(database)).toBe(0);
  });
});

describe('a million rows', () => {
  it('are queued in ranges, and never become many jobs', async () => {
    await make(1_000_000);
    await database.query('analyze doc');
    const ranges = await backfill();
    expect(ranges).toBeGreaterThan(50);
    expect(ranges).toBeLessThan(200);
    expect(await count('embedder.job')).toBe(0);
    expect(await backfill()).toBe(ranges);
    expect(await count('embedder.backfill_range')).toBe(ranges);
    const left = async () => {
      const { rows } = await database.query<{ n: string }>(
        'select backfill_rows_estimate as n from embedder.status',
      );
      return Number(rows[0]!.n);
    };
    const before = await left();
    let most = 0;
    const done = new Promise<void>((resolve) => {
      let embedded = 0;
      for (let i = 0; i < 2; i++) {
        const embedder = new FakeEmbedder();
        startWorker(embedder, 1_024).then((worker) =>
          worker.events.on('completed', (batch) => {
            embedded += batch.embedded;
            if (embedded >= 20_000) resolve();
          }),
        );
      }
    });
    let ended = false;
    done.then(() => {
      ended = true;
    });
    while (!ended) most = Math.max(most, await count('embedder.job'));
    expect(most).toBeGreaterThan(0);
    expect(most).toBeLessThan(10_000);
    await database.query(`select embedder.pause_pipeline('doc')`);
    await Promise.all(workers.splice(0).map((worker) => worker.stop()));
    const written = await count('doc_embedding');
    expect(written).toBeGreaterThanOrEqual(20_000);
    expect(await left()).toBeLessThanOrEqual(before - 10_000);
  }, 180_000);
});

describe('which rows', () => {
  it('those without a result; dead letters not, and blank ones once', async () => {
    await make(10);
    await database.query(`alter table doc disable trigger user; update doc set body = e' \\t\\n' where id = 3; update doc set body = null where id = 4;
      alter table doc enable trigger user;
      insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, '5', 5, 'e' from embedder.pipeline`);
    await backfill();
    const embedder = new FakeEmbedder();
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 7, emptied: 2 });
    await backfill();
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 0, emptied: 0 });
    expect(await count('embedder.dead_letter')).toBe(1);
    await database.query(`delete from doc_embedding where id in (1, 9)`);
    await backfill();
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 2 });
    expect(embedder.calls.at(-1)!.sort()).toEqual(['text 1', 'text 9']);
  });

  it('with force all of them, and those of the condition alone', async () => {
    await make(10);
    const embedder = new FakeEmbedder();
    await backfill(`, condition => 'id % 2 = 0 -- even'`);
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 5 });
    expect(await sidecarKeys()).toEqual(['10', '2', '4', '6', '8']);
    await backfill(`, condition => $$body in ('text 1', 'text 2')$$, force => true`);
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 2 });
    expect(embedder.calls.at(-1)!.sort()).toEqual(['text 1', 'text 2']);
    await backfill(', force => true');
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 10 });
    await allRight();
  });

  it('a condition does not hide behind another backfill, nor all rows behind one with a condition; a wider one takes over', async () => {
    await make(10);
    await backfill(`, condition => 'id = 1'`);
    await backfill(`, condition => 'id = 2'`);
    await backfill(`, condition => 'id = 2'`);
    expect(await count('embedder.backfill_run')).toBe(2);
    await backfill();
    await backfill(`, condition => 'id = 3'`);
    expect(await count('embedder.backfill_run')).toBe(1);
    await backfill(`, condition => 'id = 3', force => true`);
    expect(await count('embedder.backfill_run')).toBe(2);
    await backfill(', force => true');
    await backfill(', stale => true');
    expect(await count('embedder.backfill_run')).toBe(1);
    const embedder = new FakeEmbedder();
    await drain(database, { embedder });
    await allRight();
    expect(new Set(embedder.calls.flat()).size).toBe(10);
  });

  it.each([
    ['divides by zero', '1 / (id - 5) < 0', /division by zero/],
    ['raises', 'public.picky(id)', /nine is not liked/],
    ['is of the wrong type for a row', `(body || 'x')::int > 0`, /invalid input syntax/],
  ])('a condition that %s says so in status, and the others go on', async (_, condition, message) => {
    await make(10);
    await database.query(`create function picky(id int) returns boolean language plpgsql as
        $$ begin if id = 9 then raise exception 'nine is not liked'; end if; return true; end $$;
      create table other (id int primary key, body text); insert into other values (1, 'other');
      select embedder.create_pipeline('other', 'body', index => 'none')`);
    await backfill(`, condition => $$${condition}$$`);
    expect(await drain(database)).toMatchObject({ embedded: 1 });
    const status = async () =>
      (await database.query(`select state, error from embedder.status where pipeline = 'doc'`)).rows[0];
    expect(await status()).toEqual({
      state: 'error',
      error: expect.stringMatching(/^its backfill stopped: /),
    });
    expect(await status()).toEqual({ state: 'error', error: expect.stringMatching(message) });
    // New rows are embedded all the same, and another backfill takes the error away.
    await database.query(`insert into doc values (11, 'text 11')`);
    expect(await drain(database)).toMatchObject({ embedded: 1 });
    await backfill();
    await drain(database);
    expect(await status()).toEqual({ state: 'live', error: null });
    await allRight();
  });

  it('a function that is gone from the condition says so', async () => {
    await make(10);
    await database.query(`create function picky(id int) returns boolean language sql as 'select true'`);
    await backfill(`, condition => 'public.picky(id)'`);
    await database.query('drop function picky');
    await drain(database);
    const { rows } = await database.query('select error from embedder.status');
    expect(rows).toEqual([
      { error: expect.stringMatching(/^its backfill stopped: .*picky.* does not exist/) },
    ]);
  });

  it('a table that is renamed meanwhile is followed', async () => {
    await rangesOf(3);
    await make(10);
    await backfill(`, condition => 'id > 2'`);
    await database.query('alter table doc rename to renamed');
    expect((await drain(database)).failing).toEqual([]);
    await drain(database);
    expect(await count('doc_embedding')).toBe(8);
  });
});

describe('beside other work', () => {
  it('a row that is updated goes first', async () => {
    await make(1_000);
    const embedder = new FakeEmbedder();
    embedder.hold();
    const first = embedder.nextCall();
    await backfill();
    await startWorker(embedder, 20);
    await first;
    await database.query(`update doc set body = 'urgent' where id = 990`);
    embedder.release();
    await empty();
    const place = embedder.calls.findIndex((texts) => texts.includes('urgent'));
    const before = new Set(embedder.calls.slice(0, place).flat());
    // It came before most of what the backfill had yet to do; row 990 is near its end.
    expect(before.size).toBeLessThan(500);
    expect(embedder.calls.flat().filter((text) => text === 'text 990')).toEqual([]);
    await allRight();
  });

  it('rows that somebody has locked are passed over, and done later', async () => {
    await rangesOf(10);
    await make(40);
    const holder = await database.pool.connect();
    try {
      await holder.query('begin');
      await holder.query(`update doc set lang = 'de' where id between 5 and 24`);
      await backfill();
      expect(await drain(database, { window: 7 })).toMatchObject({ embedded: 20 });
      await holder.query('commit');
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    expect(await jobCount(database)).toBeGreaterThan(0);
    await database.query('update embedder.backfill_range set not_before = now()');
    // By a worker whose window is smaller than what was put aside.
    expect(await drain(database, { window: 2 })).toMatchObject({ embedded: 20 });
    expect(await jobCount(database)).toBe(0);
    await allRight();
  });

  it('many workers can pass over locked rows at once', async () => {
    await rangesOf(10);
    await make(200);
    const holder = await database.pool.connect();
    try {
      await holder.query('begin');
      await holder.query('select from doc where id % 2 = 0 for update');
      await backfill();
      const results = await Promise.all(Array.from({ length: 4 }, () => drain(database, { window: 3 })));
      expect(results.reduce((sum, { embedded }) => sum + embedded, 0)).toBe(100);
      await holder.query('commit');
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    await database.query('update embedder.backfill_range set not_before = now()');
    await drain(database);
    expect(await jobCount(database)).toBe(0);
    await allRight();
  });

  it('rows deleted and added in the middle, and a checkpoint whose row is gone', async () => {
    await rangesOf(10);
    await make(100);
    await backfill();
    const embedder = new FakeEmbedder();
    embedder.hold();
    const call = embedder.nextCall();
    await startWorker(embedder, 4);
    await call;
    await database.query(`delete from doc where id % 10 in (0, 4, 8);
      insert into doc values (0, 'zero'), (10, 'ten again'), (200, 'after')`);
    embedder.release();
    await empty();
    await allRight();
    const { rows } = await database.query('select source_rows, embedded_rows from embedder.status');
    expect(rows).toEqual([{ source_rows: '73', embedded_rows: '73' }]);
  });

  it('is cut without a walk through the table where nothing has counted its rows', async () => {
    await database.query('drop table if exists doc cascade');
    await database.query(`create table doc (id int primary key, body text) with (autovacuum_enabled = off);
      insert into doc select i, repeat('text ', 20) from generate_series(1, 150000) i`);
    await database.query(`select embedder.create_pipeline('doc', 'body', index => 'none')`);
    const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
    const client = await database.pool.connect();
    try {
      await client.query('begin');
      const cut = await client.query(`select from embedder.pipeline_${rows[0]!.id}_ranges(false)`);
      const { rows: read } = await client.query<{ n: string }>(
        `select seq_tup_read + idx_tup_fetch as n from pg_stat_xact_user_tables where relname = 'doc'`,
      );
      expect(cut.rowCount).toBeGreaterThan(8);
      expect(cut.rowCount).toBeLessThan(25);
      expect(Number(read[0]!.n)).toBeLessThan(40_000);
    } finally {
      await client.query('rollback');
      client.release();
    }
  });

  it('a pause holds it, dropping the pipeline ends it', async () => {
    await rangesOf(10);
    await make(100);
    await database.query(`select embedder.pause_pipeline('doc')`);
    await backfill();
    expect(await drain(database)).toMatchObject({ embedded: 0 });
    expect(await count('embedder.backfill_range')).toBe(11);
    await database.query(`select embedder.resume_pipeline('doc')`);
    const embedder = new FakeEmbedder();
    embedder.hold();
    const call = embedder.nextCall();
    const worker = await startWorker(embedder, 10);
    await call;
    const gone = once(worker.events, 'pipelines');
    await database.query(`select embedder.drop_pipeline('doc')`);
    expect(await count('embedder.backfill_range')).toBe(0);
    expect(await count('embedder.backfill_run')).toBe(0);
    embedder.release();
    await gone;
    await worker.stop();
    expect(await count('embedder.job')).toBe(0);
    expect(await count('doc_embedding')).toBe(0);
  });

  it('rows that enter a filter are embedded, also behind a checkpoint, and rows that leave it lose theirs', async () => {
    await rangesOf(10);
    await make(100, `, filter => 'id % 2 = 0'`);
    await backfill();
    const embedder = new FakeEmbedder();
    embedder.hold();
    const call = embedder.nextCall();
    const worker = await startWorker(embedder, 20);
    await call;
    // Its first ranges are walked; row 3 enters behind them, row 2 leaves.
    await database.query(`select embedder.alter_pipeline('doc', filter => 'id % 3 = 0')`);
    embedder.release();
    await empty();
    await worker.stop();
    await allRight('id % 3 = 0');
    await database.query(`select embedder.alter_pipeline('doc', filter => '')`);
    await drain(database);
    await allRight();
    const { rows } = await database.query('select source_rows, embedded_rows from embedder.status');
    expect(rows).toEqual([{ source_rows: '100', embedded_rows: '100' }]);
  });

  it('two workers share the ranges, and no row is written twice', async () => {
    await rangesOf(20);
    await make(600);
    const written = await countWrites(database, 'doc_embedding');
    await backfill();
    const embedders = [new FakeEmbedder(), new FakeEmbedder()];
    await Promise.all(embedders.map((embedder) => drain(database, { embedder, window: 10 })));
    expect(await written()).toEqual({ rows: 600, writes: 600 });
    for (const embedder of embedders) expect(embedder.calls.length).toBeGreaterThan(0);
    await allRight();
  });
});

describe('kill -9', () => {
  it('in the middle: another worker goes on from the checkpoints, no row is lost and none written twice', async () => {
    await rangesOf(100);
    await make(2_000);
    const written = await countWrites(database, 'doc_embedding');
    await backfill();
    const start = async () => {
      const started = await startWorkerProcess({
        connection: database.url,
        engine: { engines: 1, threads: 1 },
        window: 64,
      });
      processes.push(started);
      return started;
    };
    const victim = await start();
    await once(victim.events, 'completed');
    await once(victim.events, 'completed');
    victim.child.kill('SIGKILL');
    await victim.exited;
    const before = await count('doc_embedding');
    expect(before).toBeGreaterThan(0);
    expect(before).toBeLessThan(2_000);
    await database.query(`update embedder.worker_process set beat_at = now() - interval '1 hour'`);
    await start();
    await pollUntil(async () => (await jobCount(database)) === 0, {
      what: 'an empty queue',
      deadline: 60_000,
      every: 100,
    });
    expect(await written()).toEqual({ rows: 2_000, writes: 2_000 });
  }, 120_000);
});
