import type { PoolClient } from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { wrongCounts } from '../support/counts.ts';
import { createMigratedDatabase, drain, jobCount, type MigratedDatabase } from '../support/pgembedder.ts';

let database: MigratedDatabase;
let old: PoolClient;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  await database.query(`delete from embedder.pipeline; drop table if exists doc_embedding, doc;
    create table doc (id int primary key, body text, hidden boolean not null default false); insert into doc select i, 'text ' || i from generate_series(1, 4) i`);
  old = await database.pool.connect();
});
afterEach(() => old.release(true));

const create = (rest = '') =>
  database.query(`select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
const begin = (level: string) => old.query(`begin isolation level ${level}; select count(*) from doc`);
const sidecar = async () =>
  (await database.query<{ id: number }>('select id from doc_embedding order by id')).rows.map(
    (row) => row.id,
  );

describe.each(['repeatable read', 'serializable'])(
  'a transaction in %s whose snapshot is older than a vector',
  (level) => {
    it.each([
      ['deletes its row', 'delete from doc where id = 3', [1, 2, 4]],
      ['gives its row another key', 'update doc set id = 7 where id = 3', [1, 2, 4, 7]],
      ['has its row leave the filter', 'update doc set hidden = true where id = 3', [1, 2, 4]],
      ['truncates', 'truncate doc', []],
    ])('%s: no vector stays, and all counts are right', async (_, statement, left) => {
      await create(`, filter => 'not hidden'`);
      await begin(level);
      await drain(database);
      expect(await sidecar()).toEqual([1, 2, 3, 4]);
      await old.query(`${statement}; commit`);
      await drain(database);
      expect(await sidecar()).toEqual(left);
      expect(await jobCount(database)).toBe(0);
      expect(await wrongCounts(database)).toEqual([]);
    });

    it('raises 40001 where a job came meanwhile', async () => {
      await create();
      await drain(database);
      await begin(level);
      await database.query(`select enqueue_embed('doc', 3)`);
      await expect(old.query('delete from doc where id = 3')).rejects.toMatchObject({ code: '40001' });
      await old.query('rollback');
      await drain(database);
      expect(await wrongCounts(database)).toEqual([]);
    });

    it('truncates, and rows that came meanwhile are not counted', async () => {
      await create();
      await old.query(`begin isolation level ${level}; select`);
      await drain(database);
      await database.query(`insert into doc values (5, 'e')`);
      await drain(database);
      await database.query(`insert into doc values (6, 'f')`);
      await old.query('truncate doc; commit');
      await drain(database);
      expect([await sidecar(), await jobCount(database)]).toEqual([[], 0]);
      expect(await wrongCounts(database)).toEqual([]);
    });

    it.each([
      ['deletes a row', 'delete from doc where id = 3', [1, 2, 4]],
      ['gives a row another key', 'update doc set id = 7 where id = 3', [1, 2, 4, 7]],
      ['writes a row', `insert into doc values (5, 'e')`, [1, 2, 3, 4, 5]],
      ['truncates', 'truncate doc', []],
    ])('%s after a pipeline was made that is newer than it', async (_, statement, left) => {
      await begin(level);
      await create();
      await drain(database);
      await old.query(`${statement}; commit`);
      await drain(database);
      expect(await sidecar()).toEqual(left);
      expect(await jobCount(database)).toBe(0);
      expect(await wrongCounts(database)).toEqual([]);
    });

    it('makes a pipeline: rows that came meanwhile are embedded and counted', async () => {
      await begin(level);
      await database.query(`insert into doc values (5, 'e'); delete from doc where id = 1`);
      await old.query(`select embedder.create_pipeline('doc', 'body', index => 'none'); commit`);
      await drain(database);
      expect(await sidecar()).toEqual([2, 3, 4, 5]);
      expect(await wrongCounts(database)).toEqual([]);
    });
  },
);

describe('counters', () => {
  it('are right when a dead letter is written while its row is deleted', async () => {
    await create();
    await drain(database);
    await database.query(`update doc set body = 'n' where id = 3`);
    const { rows } = await database.query<{ version: string; id: number }>(
      `select c.version::text, c.pipeline_id as id from embedder.pipeline p, embedder.claim_jobs(1, array[p.id], 1, '1 min') c`,
    );
    await database.query(`update embedder.pipeline set max_attempts = 1`);
    await old.query('begin');
    await old.query(`select embedder.fail_jobs(1, $1, '{3}', array[$2]::bigint[], '{e}', '1 s', '1 s')`, [
      rows[0]!.id,
      rows[0]!.version,
    ]);
    const deleted = database.query('delete from doc where id = 3');
    await old.query('commit');
    await deleted;
    expect(await wrongCounts(database)).toEqual([]);
    expect((await database.query('select from embedder.dead_letter')).rowCount).toBe(0);
  });

  it('are right when a row with a vector comes for whose key a job waits', async () => {
    await create(`, target_column => 'e'`);
    await drain(database);
    await database.query(
      `select enqueue_embed('doc', 7); insert into doc (id, body, e) select 7, body, e from doc where id = 1`,
    );
    expect(await wrongCounts(database)).toEqual([]);
    await drain(database);
    expect(await wrongCounts(database)).toEqual([]);
  });

  it('are right when the filter leaves out a row that has failed', async () => {
    await create();
    await drain(database);
    await database.query(`insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, k, 5, 'e' from embedder.pipeline, unnest('{2,3}'::text[]) k;
      select embedder.alter_pipeline('doc', filter => 'id <> 2')`);
    await drain(database);
    expect(await wrongCounts(database)).toEqual([]);
    expect((await database.query('select row_key from embedder.dead_letter')).rows).toEqual([
      { row_key: '3' },
    ]);
  });

  it('are made right again after rows that the filter could not judge', async () => {
    await create(`, filter => '10 / nullif(id, 9) > 0'`);
    await drain(database);
    await database.query(`insert into doc values (0, 'zero'), (5, 'e')`);
    await database.query(`delete from doc where id = 0`);
    await drain(database);
    expect(await wrongCounts(database)).toEqual([]);
  });
});
