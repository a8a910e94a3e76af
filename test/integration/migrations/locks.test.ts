import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { createMigratedDatabase, knownModels, type MigratedDatabase } from '../../support/pgembedder.ts';

let database: MigratedDatabase;

beforeEach(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table doc (id int primary key, body text); create table other (id int primary key, body text);
    select embedder.create_pipeline('doc', 'body'), embedder.create_pipeline('other', 'body')`);
});
afterEach(() => database.drop());

const otherFiles = () =>
  database.query(`update embedder.applied_file set sha256 = 'x' where name like 'sql/%'`);
const policies = async () =>
  (await database.query<{ oid: number }>(`select oid from pg_policy order by oid`)).rows;

describe('migrate beside an open transaction that has written a source', () => {
  it('applies what has changed and waits for nobody', async () => {
    await otherFiles();
    const before = await policies();
    const writer = await database.pool.connect();
    try {
      await writer.query(`begin; insert into doc values (1, 'a')`);
      expect((await migrate(database.kysely, knownModels())).failed).toEqual([]);
      // Made again, they would have locked the queue.
      expect(await policies()).toEqual(before);
      await writer.query('commit');
    } finally {
      writer.release();
    }
  });

  it('says which pipeline it could not bring up to date, and does so for the others', async () => {
    const { rows } = await database.query<{ tgname: string }>(
      `select tgname from pg_trigger where tgrelid = 'doc'::regclass limit 1`,
    );
    await database.query(`drop trigger ${rows[0]!.tgname} on doc;
      create or replace function embedder.pipeline_2_forget(row_keys text[]) returns void language plpgsql as $$ begin raise 'of old'; end $$`);
    await otherFiles();
    const writer = await database.pool.connect();
    try {
      await writer.query(`begin; insert into doc values (1, 'a')`);
      expect((await migrate(database.kysely)).failed).toEqual([
        { pipeline: 'doc', problem: 'somebody has a transaction open on its table, or is changing it' },
      ]);
      await database.query(`insert into other values (1, 'a'); delete from other`);
      await writer.query('commit');
    } finally {
      writer.release();
    }
    expect(await migrate(database.kysely)).toEqual({
      migrations: [],
      functions: [],
      mended: [
        expect.stringMatching(/^pipeline doc: public\.doc has no trigger for /),
        'pipeline doc: rows that were written without its triggers are looked for',
      ],
      other: [],
      failed: [],
    });
    expect(
      (
        await database.query(`select from pg_trigger where tgrelid = 'doc'::regclass and tgname = $1`, [
          rows[0]!.tgname,
        ])
      ).rowCount,
    ).toBe(1);
    expect(
      (await database.query(`select name from embedder.pipeline p where embedder.missed_by(p) is not null`))
        .rows,
    ).toEqual([]);
  });
});
