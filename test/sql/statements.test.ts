import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wrongCounts } from '../support/counts.ts';
import { createMigratedDatabase, drain, type MigratedDatabase } from '../support/pgembedder.ts';
import { startServer, type TestServer } from '../support/postgres.ts';

let database: MigratedDatabase;
beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

describe('a publication of all tables', () => {
  it('keeps neither truncate nor drop_pipeline nor the counts from working', async () => {
    await database.query(`create table doc (id int primary key, body text); insert into doc values (1, 'a');
      select embedder.create_pipeline('doc', 'body', index => 'none'); create publication all_of_it for all tables`);
    await drain(database);
    await database.query(
      `update embedder.tally set at = now() - interval '1 hour'; select embedder.fold_tally()`,
    );
    await database.query('truncate doc');
    expect(await wrongCounts(database)).toEqual([]);
    expect((await database.query('select error from embedder.status')).rows).toEqual([{ error: null }]);
    await database.query(`select embedder.drop_pipeline('doc', drop_target => true)`);
  });
});

describe('a table with a foreign child', () => {
  it('is refused', async () => {
    await database.query(`create foreign data wrapper nothing; create server nowhere foreign data wrapper nothing;
      create table part (id int primary key, body text); create foreign table far (id int not null, body text) inherits (part) server nowhere`);
    await expect(database.query(`select embedder.create_pipeline('part', 'body')`)).rejects.toMatchObject({
      code: '42809',
      message: 'table public.part has a foreign table below it, public.far, whose rows no trigger sees',
      hint: 'Detach it, or make the pipeline on a table without foreign partitions or children.',
    });
  });
});

describe('a server with prepared transactions', () => {
  let server: TestServer;
  let other: MigratedDatabase;
  beforeAll(async () => {
    server = await startServer({ settings: { max_prepared_transactions: '2' } });
    other = await createMigratedDatabase({ serverUrl: server.url });
  });
  afterAll(async () => {
    await other.drop();
    await server.stop();
  });

  it('lets a writer prepare its transaction while a worker sleeps', async () => {
    await other.query(`create table doc (id int primary key, body text); select embedder.create_pipeline('doc', 'body', index => 'none');
      insert into doc values (1, 'a');
      insert into embedder.worker_process (hostname, pid, version, listening, idle, beat_at) values ('h', 1, '0', true, true, now() + interval '1 day')`);
    const client = await other.pool.connect();
    try {
      await client.query(
        `begin; insert into doc values (2, 'b'); update doc set body = 'n' where id = 1; delete from doc where id = 1`,
      );
      await client.query(`prepare transaction 'x'`);
      await client.query(`commit prepared 'x'`);
    } finally {
      client.release();
    }
    expect((await other.query('select row_key from embedder.job')).rows).toEqual([{ row_key: '2' }]);
  });
});
