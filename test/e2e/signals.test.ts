import pg from 'pg';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { pollUntil } from '../support/poll-until.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { Cli, run } from './cli.ts';

const ROWS = 3_000;

let database: TestDatabase;
let env: Record<string, string>;

beforeAll(async () => {
  database = await createDatabase();
  env = { DATABASE_URL: database.url };
  await run(['migrate'], { env });
  await database.query('create table notes (id int primary key, body text)');
  await run(['pipeline', 'create', 'notes', 'body'], { env });
});
beforeEach(async () => {
  await database.query('truncate notes');
  await database.query(`insert into notes select i, 'note ' || i from generate_series(1, ${ROWS}) i`);
});
afterAll(() => database.drop());

/** Waits until somebody has claimed jobs: then work is under way. */
function claimed(): Promise<unknown> {
  return pollUntil(
    async () =>
      (await database.query('select from embedder.job where leased_by is not null limit 1')).rowCount,
    { what: 'a claim' },
  );
}

describe('work', () => {
  it.each(['SIGTERM', 'SIGINT'] as const)(
    'ends with 0 at %s, and gives back what it holds',
    async (signal) => {
      const worker = new Cli(['work'], { env });
      await claimed();
      worker.kill(signal);
      const { code, stdout, stderr } = await worker.result();
      expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
      expect(stderr).toContain('worker stopped');
      const { rows } = await database.query<{ jobs: number; leased: number; vectors: number }>(`
      select (select count(*)::int from embedder.job) as jobs, (select count(*)::int from notes_embedding) as vectors,
        (select count(*)::int from embedder.job where leased_by is not null) as leased`);
      expect(rows[0]!.leased).toBe(0);
      expect(rows[0]!.jobs + rows[0]!.vectors).toBe(ROWS);
    },
  );

  it.each([
    ['SIGTERM', 143],
    ['SIGINT', 130],
  ] as const)('ends at once at a second %s', async (signal, exitCode) => {
    // Who writes to the target waits for this lock, and so does the worker's stop.
    const locker = new pg.Client({ connectionString: database.url });
    await locker.connect();
    await locker.query('begin; lock table notes_embedding in access exclusive mode');
    const worker = new Cli(['work'], { env });
    await pollUntil(
      async () =>
        (
          await database.query(
            "select from pg_stat_activity where wait_event_type = 'Lock' and datname = current_database()",
          )
        ).rowCount,
      { what: 'a write that waits' },
    );
    worker.kill(signal);
    await worker.said('a second signal ends at once');
    worker.kill(signal);
    expect(await worker.result()).toMatchObject({ code: exitCode });
    await locker.end();
  });

  it('ends a watch with 0', async () => {
    const watch = new Cli(['status', '--watch', '--json'], { env });
    await watch.said('\n');
    watch.kill('SIGINT');
    const { code, stdout } = await watch.result();
    expect(code).toBe(0);
    expect(JSON.parse(stdout.split('\n')[0]!)).toMatchObject([{ pipeline: 'notes' }]);
  });
});
