import type pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';

let database: MigratedDatabase;
let clients: pg.PoolClient[];

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  clients = [];
  await database.query(`create table doc (id int primary key, body text, note text);
    insert into doc select i, 'text ' || i from generate_series(1, 20) i`);
});
afterEach(async () => {
  for (const client of clients) {
    await client.query('rollback');
    client.release(true);
  }
  await database.query(`select embedder.drop_pipeline(name, drop_target => true) from embedder.pipeline where live;
    drop table if exists doc, doc_embedding cascade; delete from embedder.job`);
});

async function client(): Promise<pg.PoolClient> {
  const made = await database.pool.connect();
  clients.push(made);
  return made;
}
/** A session whose transaction has written the source and stays open. */
async function openWriter(): Promise<pg.PoolClient> {
  const writer = await client();
  await writer.query(`begin; insert into doc values (100, 'open')`);
  return writer;
}
/** Runs a statement that is to wait for nobody: a wait ends in an error. */
async function atOnce(statement: string): Promise<unknown[]> {
  const one = await database.pool.connect();
  try {
    await one.query(`set statement_timeout = '10s'`);
    return (await one.query(statement)).rows;
  } finally {
    one.release(true);
  }
}
const create = (rest = '') =>
  database.query(`select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
const fill = (table = 'doc_embedding') =>
  database.query(`insert into ${table} (id, embedding, model) select id, array_fill(0.5, array[384])::vector, 'all-MiniLM-L6-v2' from doc;
    delete from embedder.backfill_run; delete from embedder.job`);
const filledAt = async () =>
  (
    await database.query<{ filled: boolean }>(
      `select filled_at is not null as filled from embedder.pipeline order by id desc limit 1`,
    )
  ).rows[0]!.filled;
const open = (rest = '') =>
  database.query(`select embedder.alter_pipeline('doc', input => '{body}!'${rest})`);

describe('beside a transaction that has written the source', () => {
  it.each([
    [`select embedder.create_pipeline('doc', 'note', name => 'other')`],
    [`select embedder.create_pipeline('doc', 'note', name => 'other', target_column => 'e')`],
    [`select embedder.alter_pipeline('doc', input => 'note')`],
    [`select embedder.alter_pipeline('doc', filter => 'id > 3')`],
    [`select embedder.drop_pipeline('doc')`],
  ])('%s gives up with one sentence, and nothing has changed', async (statement) => {
    await create();
    const before = (await database.query('select * from embedder.pipeline')).rows;
    await openWriter();
    const caller = await client();
    await caller.query(`set embedder.patience = '100ms'`);
    await expect(caller.query(statement)).rejects.toMatchObject({
      code: '55P03',
      message: expect.stringMatching(/is in use: there was no lock to be had$/),
      hint: expect.stringMatching(/^Somebody's transaction is open/),
    });
    expect((await database.query('select * from embedder.pipeline')).rows).toEqual(before);
  });

  it('waits until that has ended', async () => {
    const writer = await openWriter();
    const created = create();
    await pollUntil(
      async () =>
        (
          await database.query(
            `select from pg_stat_activity where wait_event = 'PgSleep' and query ~ 'create_pipeline'`,
          )
        ).rowCount! > 0,
      { what: 'a try that has failed' },
    );
    await writer.query('commit');
    await created;
    await database.query(`insert into doc values (200, 'after')`);
    expect((await database.query(`select row_key from embedder.job`)).rows).toEqual([{ row_key: '200' }]);
  });
});

describe('an owner who leaves a change of a pipeline open', () => {
  it('keeps no worker from its other work', async () => {
    await create();
    await fill();
    await open(', auto_cutover => true');
    await fill('doc_embedding_2');
    await database.query(`update embedder.pipeline set filled_at = now() where not live`);
    const owner = await client();
    await owner.query(`begin; select embedder.pause_pipeline('doc')`);
    await database.query(`alter table doc add column extra int`);
    const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
    for (const statement of [
      'select embedder.mark_filled()',
      'select embedder.auto_cutover()',
      'select embedder.fold_tally()',
      'select embedder.end_backfills()',
      ...rows.flatMap(({ id }) => [
        `select embedder.follow_tables(${id})`,
        `select embedder.count_pipeline(${id})`,
        `select embedder.set_pipeline_error(${id}, 'x')`,
      ]),
    ])
      await atOnce(statement);
    expect((await database.query(`select from embedder.pipeline where error is not null`)).rowCount).toBe(0);
  });
});

describe('a first filling', () => {
  const mark = () => database.query('select embedder.mark_filled()');

  it('has not ended while a row that was there waits, or is being worked on', async () => {
    await create();
    await mark();
    expect(await filledAt()).toBe(false);
    await fill();
    await database.query(`update doc set body = 'n' where id = 1`);
    await mark();
    expect(await filledAt()).toBe(false);
    await database.query(
      `update embedder.job set leased_by = 1, attempts = 1, due_at = now() + interval '1 minute'`,
    );
    await mark();
    expect(await filledAt()).toBe(false);
    await database.query('delete from embedder.job');
    await mark();
    expect(await filledAt()).toBe(true);
  });

  it('ends although new rows wait, one is in a backoff, and one is locked by an open transaction', async () => {
    await create();
    await fill();
    await database.query(`update doc set body = 'n' where id in (1, 2)`);
    await mark();
    expect(await filledAt()).toBe(false);
    await database.query(
      `update embedder.job set last_error = 'e', due_at = now() + interval '5 minutes' where row_key = '1'`,
    );
    const writer = await client();
    await writer.query(`begin; update doc set body = 'm' where id = 2`);
    await database.query(`insert into doc values (300, 'new')`);
    await mark();
    expect(await filledAt()).toBe(true);
  });
});

describe('a cutover', () => {
  const generations = async () =>
    (
      await database.query<{ generation: number }>('select generation from embedder.pipeline order by 1')
    ).rows.map(({ generation }) => generation);
  beforeEach(async () => {
    await create();
    await fill();
    await open();
    await fill('doc_embedding_2');
    await database.query(`update embedder.pipeline set filled_at = now() where not live`);
  });

  it('is refused while rows have failed in the next generation only, and says how to go on', async () => {
    await database.query(`insert into embedder.dead_letter (pipeline_id, row_key, attempts, error)
      select p.id, k, 5, 'e' from embedder.pipeline p, unnest(array['1', '2']) k where not p.live or k = '1'`);
    await expect(database.query(`select embedder.cutover('doc')`)).rejects.toMatchObject({
      code: '55000',
      message: '1 rows of "doc" have failed in the next generation and not in the live one',
      hint: expect.stringMatching(/force => true/),
    });
    await database.query(`update embedder.pipeline set cutover = 'auto' where not live`);
    expect(await atOnce('select embedder.auto_cutover() as name')).toEqual([{ name: null }]);
    const { rows } = await database.query('select next_state from embedder.status');
    expect(rows[0]).toMatchObject({ next_state: expect.stringMatching(/^it is not made live: 1 rows/) });
    expect(await generations()).toEqual([1, 2]);
    await database.query(`select embedder.cutover('doc', force => true)`);
    expect(await generations()).toEqual([2]);
  });

  it('comes when the failed rows were tried again and are done', async () => {
    await database.query(`insert into embedder.dead_letter (pipeline_id, row_key, attempts, error)
      select p.id, '2', 5, 'e' from embedder.pipeline p where not p.live; update embedder.pipeline set cutover = 'auto' where not live`);
    await atOnce('select embedder.auto_cutover()');
    await database.query(`select embedder.retry_failed()`);
    await database.query(`delete from embedder.job`);
    expect(await atOnce('select embedder.auto_cutover() as name')).toEqual([{ name: 'doc' }, { name: null }]);
    expect(await generations()).toEqual([2]);
  });

  it('and an index that is being built keep out of each other’s way', async () => {
    const reader = await client();
    await reader.query('begin isolation level repeatable read; select from doc');
    const builder = await client();
    const built = builder.query(
      'create index concurrently by_hand on doc_embedding_2 using hnsw (embedding vector_cosine_ops)',
    );
    await pollUntil(
      async () =>
        (
          await database.query('select from pg_stat_progress_create_index where command like $1', [
            '%CONCURRENTLY',
          ])
        ).rowCount! > 0,
      { what: 'the build' },
    );
    for (const statement of [`select embedder.cutover('doc')`, `select embedder.drop_next_generation('doc')`])
      await expect(database.query(statement)).rejects.toMatchObject({
        code: '55P03',
        message: expect.stringMatching(/^an index of .* is being built$/),
      });
    await reader.query('commit');
    await built;
    await database.query(`select embedder.cutover('doc')`);
    expect(
      (await database.query(`select indisvalid from pg_index where indexrelid = 'by_hand'::regclass`)).rows,
    ).toEqual([{ indisvalid: true }]);
    expect(await generations()).toEqual([2]);
  });
});

describe('counts', () => {
  it('are right although a count and writers were at it together', async () => {
    await create(`, filter => $$body <> 'text 3'$$`);
    await fill();
    const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
    let writing = true;
    const write = async (from: number) => {
      for (let id = from; writing; id += 1)
        await database.query(
          `insert into doc values (${id}, 'new'); update doc set body = 'text 3' where id = ${id} and id % 3 = 0; delete from doc where id = ${id} and id % 2 = 0`,
        );
    };
    const writers = [write(10_000), write(20_000), write(30_000)];
    for (let i = 0; i < 20; i += 1) {
      await database.query('update embedder.pipeline set uncounted_since = now()');
      await Promise.all([1, 2].map(() => database.query(`select embedder.count_pipeline(${rows[0]!.id})`)));
    }
    writing = false;
    await Promise.all(writers);
    const truth = await database.query(`select count(*) filter (where body <> 'text 3') as source_rows,
      (select count(*) from doc_embedding) as embedded_rows from doc`);
    const status = await database.query('select source_rows, embedded_rows from embedder.status');
    expect(status.rows).toEqual(truth.rows);
  });

  it('of a large table are made by a worker, and status says none until then', async () => {
    await database.query(
      `insert into doc select i, repeat('long ', 50), '' from generate_series(1000, 41000) i`,
    );
    await create();
    const status = () => database.query('select source_rows, coverage from embedder.status');
    expect((await status()).rows).toEqual([{ source_rows: null, coverage: null }]);
    await database.query('select embedder.count_pipeline(id) from embedder.uncounted_pipelines() id');
    expect((await status()).rows).toEqual([{ source_rows: '40021', coverage: '0.0000' }]);
  });
});

describe('a pipeline that is looked after', () => {
  const refresh = () =>
    database.query('select embedder.refresh_pipeline(id) as problem from embedder.pipeline');
  const runs = async () => (await database.query('select from embedder.backfill_run')).rowCount;

  it('in error is tried again without a lock on its source, or a look at its rows', async () => {
    await create();
    await fill();
    await openWriter();
    await database.query(`update embedder.pipeline set error = 'a full disk', error_at = now()`);
    expect((await refresh()).rows).toEqual([{ problem: null }]);
    expect(await runs()).toBe(0);
  });

  it('whose key has another type is rewritten by its owner where it is large', async () => {
    await database.query(`insert into doc select i, 'x' from generate_series(1000, 7000) i`);
    await create();
    await fill();
    await database.query('alter table doc alter column id type bigint');
    const { problem } = (await refresh()).rows[0]!;
    expect(problem).toMatch(
      /^column id of public\.doc_embedding is integer, and in the key of public\.doc it is bigint now/,
    );
    await database.query(/alter table .*::bigint(?=;)/.exec(problem)![0]);
    expect((await refresh()).rows).toEqual([{ problem: null }]);
  });
});
