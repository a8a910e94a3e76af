import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkDatabase } from '../../../src/cli/doctor/database-checks.ts';
import { checkPipelines } from '../../../src/cli/doctor/pipeline-checks.ts';
import { reportError } from '../../../src/cli/errors.ts';
import { type Database, openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { startServer, type TestServer } from '../../support/postgres.ts';

let primary: TestServer;
let standby: TestServer;
let database: MigratedDatabase;
let url: string;
let replica: Database;

/** What a query gives on the standby, when it has replayed what the primary has written so far. */
async function onStandby(query: string): Promise<Record<string, unknown>[]> {
  const { rows } = await database.query<{ lsn: string }>('select pg_current_wal_lsn()::text as lsn');
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  try {
    await pollUntil(
      async () =>
        (await client.query('select pg_last_wal_replay_lsn() >= $1::pg_lsn as there', [rows[0]!.lsn])).rows[0]
          .there,
    );
    return (await client.query(query)).rows;
  } finally {
    await client.end();
  }
}

beforeAll(async () => {
  primary = await startServer();
  database = await createMigratedDatabase({ serverUrl: primary.url });
  await database.query(`create extension dblink;
    create table doc (id int primary key, body text); insert into doc values (1, 'one'), (2, 'two');
    select embedder.create_pipeline('doc', 'body')`);
  await drain(database);
  // A text that the primary was asked for.
  const worker = workerOn(database, { embedder: new FakeEmbedder() });
  await worker.start();
  await database.query(`set embedder.embed_timeout = '30s'; select embedder.embed('cached')`);
  await worker.stop();
  standby = await startServer({ standbyOf: primary });
  url = database.url.replace(`:${primary.port}/`, `:${standby.port}/`);
  replica = openDatabase(url, 2);
});
afterAll(async () => {
  await replica?.destroy();
  await standby?.stop();
  await database?.drop();
  await primary?.stop();
});

describe('a standby', () => {
  it('shows status, failed jobs, workers and the view', async () => {
    expect(
      await onStandby(
        'select pipeline, state, embedded_rows::int as n, coverage::float from embedder.status',
      ),
    ).toEqual([{ pipeline: 'doc', state: 'live', n: 2, coverage: 1 }]);
    for (const view of ['embedder.failed_job', 'embedder.worker', 'embedder.status'])
      expect(await onStandby(`select from ${view}`)).toBeDefined();
    expect(await onStandby('select id from doc_with_embedding order by id')).toEqual([{ id: 1 }, { id: 2 }]);
  });

  it('searches with a vector, and with a text that is in the cache', async () => {
    expect(
      await onStandby(
        `select row_key from embedder.search('doc', (select embedding from doc_embedding where id = 2), 1)`,
      ),
    ).toEqual([{ row_key: '2' }]);
    expect(await onStandby(`select row_key from embedder.search('doc', 'cached', 5) order by 1`)).toEqual([
      { row_key: '1' },
      { row_key: '2' },
    ]);
    expect(await onStandby(`select row_key from embedder.hybrid_search('doc', 'cached', 1)`)).toHaveLength(1);
    // Asked for long ago: nothing is noted here.
    await database.query(`update embedder.query_vector set used_at = now() - interval '1 day'`);
    expect(await onStandby(`select embedder.embed('cached') is not null as there`)).toEqual([
      { there: true },
    ]);
  });

  it('says what to do about a text that is not', async () => {
    await expect(onStandby(`select * from embedder.search('doc', 'new', 1)`)).rejects.toMatchObject({
      code: '25006',
      message: 'this is a standby, and the cache has no vector of this text',
      hint: expect.stringMatching(/^Ask the primary for it .* give a vector/),
    });
  });

  it('is nothing wrong to doctor', async () => {
    const said: string[] = [];
    const add = ({ state, name, found }: { state: string; name: string; found: string }) =>
      void said.push(`${state} ${name} ${found}`);
    const session = { database: replica, connection: url, ended: new Promise<never>(() => {}) };
    expect(await checkDatabase(session, add)).toBe(true);
    await checkPipelines(session, add);
    expect(said.filter((line) => line.startsWith('fail'))).toEqual([]);
    expect(said).toContain('ok pipeline doc works');
    expect(said[0]).toMatch(/^ok database .*, a standby$/);
  });

  it('refuses migrate, a backfill and a declaration in one line', async () => {
    for (const work of [
      () => migrate(replica),
      () => onStandby(`select embedder.backfill('doc')`),
      () => onStandby(`select embedder.create_pipeline('doc', 'body', name => 'other')`),
      () => drain({ ...database, url }),
    ]) {
      const { text, exitCode } = reportError(
        await work().then(
          () => 'nothing',
          (error: unknown) => error,
        ),
      );
      expect(exitCode).toBe(1);
      expect(text).toMatch(/^pgembedder: [^\n]+(standby|primary)[^\n]*$/);
    }
  });
});
