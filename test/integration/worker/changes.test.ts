import { once } from 'node:events';
import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import type { Worker } from '../../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  fakeVector,
  type MigratedDatabase,
  makeDue,
  queued,
  readVectors,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

let database: MigratedDatabase;
let embedder: FakeEmbedder;
let worker: Worker;
let holder: pg.PoolClient | undefined;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table doc (id int primary key, body text);
    select embedder.create_pipeline('doc', 'body', name => 'side', index => 'none');
    select embedder.create_pipeline('doc', 'body', name => 'col', target_column => 'embedding', index => 'none');
    select embedder.pause_pipeline('side'), embedder.pause_pipeline('col')`);
});
afterAll(() => database.drop());

beforeEach(async () => {
  await database.query(`truncate doc; insert into doc select i, 'text ' || i from generate_series(1, 5) i`);
  embedder = new FakeEmbedder();
  worker = workerOn(database, { embedder });
});
afterEach(async () => {
  embedder.release();
  await holder?.query('rollback');
  holder?.release();
  holder = undefined;
  await worker.stop();
});

/** Until nothing is queued for a pipeline that is not paused. */
const empty = () =>
  pollUntil(
    async () =>
      (
        await database.query(
          `select from embedder.job j join embedder.pipeline p on p.id = j.pipeline_id where not paused`,
        )
      ).rowCount === 0,
    { what: 'an empty queue', deadline: 15_000 },
  );

/** Has a transaction of somebody else run `statement` and stay open. */
async function open(statement: string): Promise<pg.PoolClient> {
  holder = await database.pool.connect();
  await holder.query('begin');
  await holder.query(statement);
  return holder;
}

describe.each([
  { name: 'side', vectors: 'select id, embedding from side_embedding' },
  { name: 'col', vectors: 'select id, embedding from doc' },
])('target $name', ({ name, vectors }) => {
  beforeEach(async () => {
    await database.query(`select embedder.pause_pipeline('side'), embedder.pause_pipeline('col');
      delete from embedder.job where pipeline_id <> (select id from embedder.pipeline where name = '${name}');
      select embedder.resume_pipeline('${name}')`);
  });

  /** Every row has the vector of the text it has now. */
  async function allRight(): Promise<void> {
    const { rows } = await database.query<{ id: number; body: string | null }>('select id, body from doc');
    const wanted = new Map(
      rows
        .filter(({ body }) => name === 'col' || (body ?? '').trim() !== '')
        .map(({ id, body }) => [String(id), (body ?? '').trim() === '' ? null : fakeVector(body!)]),
    );
    expect(wrongKeys(await readVectors(database, vectors), wanted)).toEqual([]);
    expect(await queued(database, name)).toEqual([]);
  }

  it('a row updated while its job runs has the vector of its new text', async () => {
    embedder.hold();
    const call = embedder.nextCall();
    await worker.start();
    expect((await call).sort()).toEqual(['text 1', 'text 2', 'text 3', 'text 4', 'text 5']);
    await database.query(`update doc set body = 'newer 2' where id = 2`);
    const next = embedder.nextCall();
    embedder.release();
    embedder.hold();
    expect(await next).toEqual(['newer 2']);
    // The old text's vector was not written.
    const before = await readVectors(database, vectors);
    expect(before.get('2') ?? null).toBeNull();
    embedder.release();
    await empty();
    await allRight();
    await worker.stop();
    expect(worker.stats).toMatchObject({ embedded: 5, superseded: 1, retried: 0, dead: 0 });
  });

  it('a row updated again and again while its jobs run has the vector of its last text', async () => {
    await worker.start();
    for (let i = 0; i < 50; i++) await database.query(`update doc set body = 'round ${i}' || id`);
    await empty();
    await allRight();
  });

  it('a row deleted while its job runs leaves nothing', async () => {
    embedder.hold();
    const call = embedder.nextCall();
    await worker.start();
    await call;
    await database.query(`delete from doc where id = 3`);
    embedder.release();
    await empty();
    await allRight();
    await worker.stop();
    expect(worker.stats).toMatchObject({ embedded: 4, superseded: 1 });
  });

  it('a row deleted and inserted anew while its job runs has the vector of the new one', async () => {
    embedder.hold();
    const call = embedder.nextCall();
    await worker.start();
    await call;
    await database.query(`delete from doc where id = 3; insert into doc values (3, 'born again')`);
    embedder.release();
    await empty();
    await allRight();
  });

  it('all rows truncated while their jobs run leave nothing', async () => {
    embedder.hold();
    const call = embedder.nextCall();
    await worker.start();
    await call;
    await database.query('truncate doc');
    embedder.release();
    await pollUntil(() => worker.stats.superseded === 5);
    expect((await readVectors(database, vectors)).size).toBe(0);
  });

  it('a row whose text becomes blank while its job runs has no vector', async () => {
    embedder.hold();
    const call = embedder.nextCall();
    await worker.start();
    await call;
    await database.query(
      `update doc set body = E' \\t\\n' where id = 1; update doc set body = null where id = 2; update doc set body = '' where id = 3`,
    );
    embedder.release();
    await empty();
    await allRight();
    await worker.stop();
    expect(worker.stats).toMatchObject({ emptied: 3 });
  });

  it('a row enqueued while its job runs is embedded again', async () => {
    embedder.hold();
    const call = embedder.nextCall();
    await worker.start();
    await call;
    await database.query(`select enqueue_embed('${name}', 4)`);
    const next = embedder.nextCall();
    embedder.release();
    expect(await next).toEqual(['text 4']);
    await empty();
    await allRight();
  });

  it('a row that an open transaction is changing keeps nobody waiting', async () => {
    embedder.hold();
    const call = embedder.nextCall();
    await worker.start();
    await call;
    const transaction = await open(`update doc set body = 'changed' where id = 2`);
    embedder.release();
    await pollUntil(
      async () =>
        (await readVectors(database, `select * from (${vectors}) v(id, e) where e is not null`)).size === 4,
    );
    // Longer than the worker tries: it gives up on the row, and goes on working.
    for (let i = 0; i < 3; i++) {
      const next = embedder.nextCall();
      await database.query(`update doc set body = 'other ${i}' where id = 5`);
      expect(await next).toEqual([`other ${i}`]);
    }
    // It holds nothing any more, and is still taken for alive.
    await once(worker.events, 'idle');
    expect((await database.query(`select from embedder.worker where alive`)).rowCount).toBe(1);
    expect(await queued(database, name)).toEqual(['2']);
    await transaction.query('commit');
    await empty();
    await allRight();
  });

  it('a row that an open transaction is deleting keeps nobody waiting', async () => {
    embedder.hold();
    const call = embedder.nextCall();
    await worker.start();
    await call;
    const transaction = await open(`delete from doc where id = 2`);
    embedder.release();
    await pollUntil(
      async () =>
        (await readVectors(database, `select * from (${vectors}) v(id, e) where e is not null`)).size === 4,
    );
    await transaction.query('commit');
    await empty();
    await allRight();
  });
});

describe('a row of a column target that an open transaction has locked', () => {
  it('waits alone, is given back, and is done when the lock is gone', async () => {
    await database.query(`delete from embedder.job where pipeline_id = (select id from embedder.pipeline where name = 'side');
      select embedder.pause_pipeline('side'), embedder.resume_pipeline('col')`);
    const transaction = await open(`select from doc where id = 2 for update`);
    await worker.start();
    await pollUntil(async () => (await queued(database, 'col')).join() === '2');
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from doc where id <> 2'),
        new Map([1, 3, 4, 5].map((id) => [`${id}`, fakeVector(`text ${id}`)])),
      ),
    ).toEqual([]);
    await pollUntil(
      async () =>
        (
          await database.query(
            `select from embedder.job where leased_by is null and attempts = 0 and due_at > now()`,
          )
        ).rowCount === 1,
      {
        what: 'the row given back, no attempt counted',
      },
    );
    // It is embedded in vain each time, and so less and less often.
    await pollUntil(
      async () => {
        const { rowCount } = await database.query(
          `select from embedder.job where leased_by is null and attempts = 0 and due_at > now() + interval '15 s'`,
        );
        if (rowCount === 0) await makeDue(database);
        return rowCount === 1;
      },
      { what: 'a longer delay' },
    );
    await transaction.query('commit');
    const completed = once(worker.events, 'completed');
    await makeDue(database);
    await completed;
    expect(await queued(database, 'col')).toEqual([]);
    await worker.stop();
    expect(worker.stats).toMatchObject({ embedded: 5, retried: 0, dead: 0 });
  });
});

describe('a table that an open transaction has locked as a whole', () => {
  it('keeps no other pipeline waiting', async () => {
    await database.query(`create table if not exists unlocked (id int primary key, body text);
      select embedder.create_pipeline('unlocked', 'body', index => 'none', if_not_exists => true);
      select embedder.resume_pipeline('side'), embedder.resume_pipeline('col')`);
    await worker.start();
    await empty();
    await database.query(`update doc set body = 'new ' || id`);
    await empty();
    const transaction = await open(`lock table doc in access exclusive mode`);
    // In one transaction, so that one claim takes them together.
    await database.query(`begin;
      insert into embedder.job (pipeline_id, row_key) select id, '1' from embedder.pipeline where name in ('side', 'col');
      insert into unlocked select i, 'free' from generate_series(1, 3) i;
      commit`);
    await pollUntil(async () => (await queued(database, 'unlocked')).length === 0, {
      deadline: 8_000,
      what: 'the other pipeline’s rows',
    });
    await transaction.query('commit');
    await makeDue(database);
    await empty();
  });
});
