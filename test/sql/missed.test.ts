import type pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  type MigratedDatabase,
  readVectors,
  wrongKeys,
} from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;
let one: pg.PoolClient;
let other: pg.PoolClient;

beforeAll(async () => {
  database = await createMigratedDatabase();
  owner = await createRole();
  await database.query(`grant create on schema public to ${owner.name}`);
  [one, other] = [await database.pool.connect(), await database.pool.connect()];
});
afterAll(async () => {
  one.release();
  other.release();
  await database.drop();
  await owner.drop();
});
beforeEach(async () => {
  await database.query(
    `delete from embedder.pipeline; drop table if exists doc, doc_embedding cascade; set role ${owner.name};
     create table doc (id int primary key, body text); insert into doc values (1, 'a');
     select embedder.create_pipeline('doc', 'body', index => 'none'); reset role`,
  );
  await drain(database);
});

const queue = async () =>
  (
    await database.query<{ name: string }>(
      `select format('embedder.pipeline_%s_job', id) as name from embedder.pipeline`,
    )
  ).rows[0]!.name;
/** Breaks the triggers for a moment, as whoever takes rights away does. */
async function whileTriggersFail(work: () => Promise<unknown>): Promise<void> {
  await database.query(`revoke insert on ${await queue()} from ${owner.name}`);
  await work();
  await database.query(`grant insert (row_key, fresh) on ${await queue()} to ${owner.name}`);
}
const error = async () =>
  (await database.query<{ error: string | null }>('select error from embedder.status')).rows[0]!.error;
async function holds(wanted: Record<string, string>): Promise<void> {
  expect((await drain(database)).failing).toEqual([]);
  const vectors = new Map(Object.entries(wanted).map(([id, text]) => [id, fakeVector(text)]));
  expect(wrongKeys(await readVectors(database, 'select id, embedding from doc_embedding'), vectors)).toEqual(
    [],
  );
  expect(await error()).toBeNull();
}

describe('a row that a trigger could not queue', () => {
  it('is found although the transaction that noted the fault first is rolled back', async () => {
    await whileTriggersFail(async () => {
      await one.query(`begin; insert into doc values (2, 'undone')`);
      await other.query(`insert into doc values (3, 'kept')`);
      expect(await error()).toMatch(/^its insert trigger failed.*resume_pipeline\('doc'\)$/);
    });
    await one.query('rollback');
    await holds({ 1: 'a', 3: 'kept' });
  });

  it('is found when its savepoint stays, and the one that noted the fault first does not', async () => {
    await whileTriggersFail(() =>
      one.query(
        `begin; savepoint s; insert into doc values (2, 'undone'); rollback to s; insert into doc values (3, 'kept'); commit`,
      ),
    );
    await holds({ 1: 'a', 3: 'kept' });
  });

  it('is found although its transaction ends when all others have been looked for', async () => {
    await whileTriggersFail(async () => {
      await one.query(`begin; insert into doc values (2, 'early')`);
      await other.query(`begin; insert into doc values (3, 'late'), (4, 'too')`);
    });
    await one.query('commit');
    await holds({ 1: 'a', 2: 'early' });
    await other.query('commit');
    expect(await error()).toMatch(/^its insert trigger failed/);
    await holds({ 1: 'a', 2: 'early', 3: 'late', 4: 'too' });
  });

  it('does not keep the pipeline from being mended while its transaction is open', async () => {
    await whileTriggersFail(() => one.query(`begin; insert into doc values (2, 'open')`));
    await database.query(`insert into doc values (3, 'c'); select embedder.resume_pipeline('doc')`);
    await holds({ 1: 'a', 3: 'c' });
    await one.query('commit');
    await holds({ 1: 'a', 2: 'open', 3: 'c' });
  });

  it('is noted once a transaction', async () => {
    await whileTriggersFail(() =>
      one.query(`begin; insert into doc values (2, 'b'); insert into doc values (3, 'c'); commit`),
    );
    const { rows } = await database.query(
      'select count(*)::int as notes from embedder.tally where missed is not null',
    );
    expect(rows).toEqual([{ notes: 1 }]);
  });
});
