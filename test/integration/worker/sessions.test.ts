import { once } from 'node:events';
import { pino } from 'pino';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { openDeafProxy } from '../../support/deaf-proxy.ts';
import { drain, FakeEmbedder, jobCount, knownModels, workerOn } from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { createDatabase, type TestDatabase } from '../../support/postgres.ts';

let database: TestDatabase;

/** Settings of the database: what the next sessions get, but for a session that sets them otherwise. */
const SETTINGS: Record<string, string> = {
  statement_timeout: '300ms',
  lock_timeout: '10ms',
  idle_in_transaction_session_timeout: '200ms',
  default_transaction_isolation: 'serializable',
  default_transaction_read_only: 'on',
  row_security: 'off',
  array_nulls: 'off',
  session_replication_role: 'replica',
  enable_indexscan: 'off',
  enable_nestloop: 'off',
};

async function setAll(settings: Record<string, string>): Promise<void> {
  for (const [name, value] of Object.entries(settings))
    await database.query(`alter database ${database.name} set ${name} = '${value}'`);
}

beforeAll(async () => {
  database = await createDatabase({ vector: true });
  // PostgreSQL 17 and later have it.
  const { rowCount } = await database.query(`select from pg_settings where name = 'transaction_timeout'`);
  if (rowCount) SETTINGS.transaction_timeout = '400ms';
  // For this test's own connections, which are open now.
  for (const name of ['statement_timeout', 'default_transaction_isolation'])
    await database.query(`show ${name}`);
});
afterAll(async () => {
  await database.query(`alter database ${database.name} reset all`).catch(() => {});
  await database.drop();
});

describe('settings of the role or the database', () => {
  it('neither end nor change a migration', async () => {
    await setAll(SETTINGS);
    const kysely = openDatabase(database.url, 2);
    try {
      const holder = await database.pool.connect();
      await holder.query('begin; select pg_advisory_xact_lock(7306372118)');
      const migrated = migrate(kysely, knownModels());
      // Longer than statement_timeout: the other migrator is waited for.
      await holder.query('select pg_sleep(0.7); commit');
      holder.release();
      expect((await migrated).functions).not.toEqual([]);
    } finally {
      await kysely.destroy();
      await database.query(`alter database ${database.name} reset all`);
    }
  });
});

describe('settings', () => {
  beforeEach(async () => {
    await database.query(
      `select embedder.drop_pipeline(name, true) from embedder.pipeline; drop table if exists doc`,
    );
    await database.query(`create table doc (id int primary key, body text)`);
    await database.query(`select embedder.create_pipeline('doc', 'body', name => 'side');
      select embedder.create_pipeline('doc', 'body', name => 'col', target_column => 'embedding', index => 'none');
      insert into doc select i, 'text ' || i from generate_series(1, 300) i`);
  });

  it('do not keep a worker from its work, its index and right counts', async () => {
    await setAll(SETTINGS);
    // Each write takes longer than statement_timeout.
    await database.query(`create function dawdle() returns trigger language plpgsql as
      'begin perform pg_sleep(0.5); return null; end';
      create trigger dawdle after insert on side_embedding for each statement execute function dawdle()`);
    try {
      expect(await drain(database)).toMatchObject({ embedded: 600, failing: [] });
    } finally {
      await database.query(`alter database ${database.name} reset all; drop function dawdle cascade`);
    }
    const { rows } = await database.query(
      'select pipeline, source_rows, embedded_rows, index_state, state, error from embedder.status order by 1',
    );
    const counts = { source_rows: '300', embedded_rows: '300', state: 'live', error: null };
    expect(rows).toEqual([
      { pipeline: 'col', ...counts, index_state: 'none' },
      { pipeline: 'side', ...counts, index_state: 'built' },
    ]);
  });

  it('are said where the worker must leave them as they are: behind a pooler', async () => {
    await setAll({ statement_timeout: '1min', default_transaction_isolation: 'serializable' });
    const proxy = await openDeafProxy(database.url);
    const lines: { msg: string; settings?: unknown }[] = [];
    const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(JSON.parse(line)) });
    const worker = workerOn(database, { connection: proxy.url, logger, embedder: new FakeEmbedder() });
    try {
      await worker.start();
      expect(lines.flatMap(({ settings }) => settings ?? [])).toEqual([
        { name: 'default_transaction_isolation', value: 'serializable' },
        { name: 'statement_timeout', value: '1min' },
      ]);
    } finally {
      await worker.stop();
      await proxy.close();
      await database.query(`alter database ${database.name} reset all`);
    }
  });

  it('of a search_path that hides pg_catalog, or a role that is set, do not matter', async () => {
    await database.query(`create schema if not exists strange;
      create or replace function strange.unnest(text[]) returns setof text language sql as $$ select 'wrong' $$`);
    await database.query(`alter database ${database.name} set search_path = strange, pg_catalog`);
    const worker = workerOn(database, { embedder: new FakeEmbedder() });
    try {
      const claimed = once(worker.events, 'completed');
      await worker.start();
      await claimed;
      await pollUntil(async () => (await jobCount(database)) === 0);
      expect(worker.stats).toMatchObject({ embedded: 600, dead: 0, retried: 0 });
    } finally {
      await worker.stop();
      await database.query(`alter database ${database.name} reset all; drop schema strange cascade`);
    }
  });
});
