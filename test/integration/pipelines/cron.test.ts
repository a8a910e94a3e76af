import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { createMigratedDatabase, drain, type MigratedDatabase } from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import {
  createDatabase,
  createRole,
  startServer,
  type TestDatabase,
  type TestRole,
  type TestServer,
} from '../../support/postgres.ts';

/** pg_cron looks at the clock each minute, and starts a job within the next. */
const TWO_MINUTES = 130_000;

describe('with pg_cron in the database', () => {
  let server: TestServer;
  let database: TestDatabase;
  let owner: TestRole;

  beforeAll(async () => {
    server = await startServer();
    // The database that pg_cron lives in, by the tests' settings.
    const admin = new pg.Client({ connectionString: server.url });
    await admin.connect();
    await admin.query('create extension pg_cron; create extension vector');
    await admin.end();
    owner = await createRole('', server.url);
    const pool = new pg.Pool({ connectionString: server.url, max: 4 });
    pool.on('error', () => {});
    const as = new URL(server.url);
    as.username = owner.name;
    database = {
      url: server.url,
      name: 'postgres',
      pool,
      query: (text, parameters) => pool.query(text, parameters),
      urlAs: () => as.href,
      drop: () => pool.end(),
    };
    const kysely = openDatabase(server.url, 2);
    await migrate(kysely, [
      { name: 'all-MiniLM-L6-v2', task: 'feature-extraction', dimensions: 384, max_tokens: 256 },
    ]);
    await kysely.destroy();
    await database.query(`grant create on schema public to ${owner.name}; grant usage on schema cron to ${owner.name};
      set role ${owner.name}; create table doc (id int primary key, body text); insert into doc values (1, 'a'), (2, 'b');
      select embedder.create_pipeline('doc', 'body', enqueue_existing => false, index => 'none'); reset role`);
  });
  afterAll(async () => {
    await database.drop();
    await server.stop();
  });

  const asOwner = async (text: string) => {
    const client = new pg.Client({ connectionString: database.urlAs(owner) });
    await client.connect();
    try {
      return (await client.query<Record<string, unknown>>(text)).rows;
    } finally {
      await client.end();
    }
  };
  const runs = async () =>
    (
      await database.query<{ n: number }>(
        `select count(*)::int as n from cron.job_run_details where status = 'succeeded' and command like '%embedder.backfill%'`,
      )
    ).rows[0]!.n;

  it('schedule_backfill has it fill what lacks a vector, as a role that is no superuser', {
    timeout: TWO_MINUTES + 30_000,
  }, async () => {
    const [{ job }] = (await asOwner(`select embedder.schedule_backfill('doc') as job`)) as [{ job: string }];
    // Once more changes the schedule of the same job.
    expect(await asOwner(`select embedder.schedule_backfill('doc', '*/1 * * * *') as job`)).toEqual([
      { job },
    ]);
    await asOwner(
      `select cron.schedule('by hand', '* * * * *', $$select embedder.backfill('doc', 'id > 1')$$)`,
    );
    await pollUntil(async () => (await runs()) >= 2, { what: 'two runs of pg_cron', deadline: TWO_MINUTES });
    const { rows } = await database.query(
      `select distinct username, status from cron.job_run_details where command like '%embedder.backfill%'`,
    );
    expect(rows).toEqual([{ username: owner.name, status: 'succeeded' }]);
    expect(await drain(database)).toMatchObject({ embedded: 2, failing: [] });
    await asOwner(`select cron.unschedule('by hand')`);
    expect(await asOwner(`select embedder.unschedule_backfill('doc') as done`)).toEqual([{ done: true }]);
    expect(await asOwner(`select embedder.unschedule_backfill('doc') as done`)).toEqual([{ done: false }]);
  });

  it('a job of cron that calls enqueue_embed queues the row', { timeout: TWO_MINUTES + 30_000 }, async () => {
    await asOwner(`select cron.schedule('enqueue', '* * * * *', $$select enqueue_embed('doc', 1)$$)`);
    await pollUntil(
      async () => (await database.query(`select from embedder.job where row_key = '1'`)).rowCount === 1,
      { what: 'a job', deadline: TWO_MINUTES },
    );
    await asOwner(`select cron.unschedule('enqueue')`);
  });

  it('jobs of whoever may write the table, and of a role of another database, run with their rights and no more', {
    timeout: TWO_MINUTES + 30_000,
  }, async () => {
    const writer = await createRole('', server.url);
    const stranger = await createRole('', server.url);
    const app = await createDatabase({ vector: true, serverUrl: server.url });
    const kysely = openDatabase(app.url, 2);
    await migrate(kysely, [
      { name: 'all-MiniLM-L6-v2', task: 'feature-extraction', dimensions: 384, max_tokens: 256 },
    ]);
    await kysely.destroy();
    await app.query(`grant create on schema public to ${owner.name}; set role ${owner.name};
      create table far (id int primary key, body text); insert into far values (1, 'a'), (2, 'b'), (3, 'c');
      select embedder.create_pipeline('far', 'body', enqueue_existing => false, index => 'none'); reset role`);
    await database.query(`grant usage on schema cron to ${writer.name}, ${stranger.name};
      grant update on doc to ${writer.name};
      grant execute on function cron.schedule_in_database to ${owner.name}`);
    const as = async (role: TestRole, text: string) => {
      const url = new URL(server.url);
      url.username = role.name;
      const client = new pg.Client({ connectionString: url.href });
      await client.connect();
      await client.query(text).finally(() => client.end());
    };
    await as(writer, `select cron.schedule('a writer''s', '* * * * *', $$select enqueue_embed('doc', 2)$$)`);
    await as(
      stranger,
      `select cron.schedule('a stranger''s', '* * * * *', $$select enqueue_embed('doc', 1)$$)`,
    );
    // What the error of schedule_backfill says to type, by the owner of the table there.
    const refusal = await app
      .query(`select embedder.schedule_backfill('far')`)
      .catch(({ hint }: pg.DatabaseError) => hint);
    await as(owner, /select cron\.schedule_in_database.*;/.exec(String(refusal))![0]);

    const outcomes = async () =>
      (
        await database.query<{ username: string; status: string; database: string; message: string }>(
          `select distinct on (username) username, status, database, return_message as message
           from cron.job_run_details where status in ('succeeded', 'failed') and username = any ($1) and start_time > $2
           order by username`,
          [[owner.name, writer.name, stranger.name], begin],
        )
      ).rows;
    const begin = (await database.query<{ now: Date }>('select now()')).rows[0]!.now;
    const found = await pollUntil(
      async () => {
        const rows = await outcomes();
        return rows.length === 3 ? rows : undefined;
      },
      { what: 'a run of each of the three', deadline: TWO_MINUTES },
    );
    const of = (role: TestRole) => found.find(({ username }) => username === role.name);
    expect(of(owner)).toMatchObject({ status: 'succeeded', database: app.name });
    expect(of(writer)).toMatchObject({ status: 'succeeded', database: 'postgres' });
    expect(of(stranger)).toMatchObject({
      status: 'failed',
      message: expect.stringMatching(/there is no pipeline/),
    });
    expect((await database.query(`select from embedder.job where row_key = '2'`)).rowCount).toBe(1);
    expect(await drain(app)).toMatchObject({ embedded: 3, failing: [] });
    await app.drop();
  });

  it('refuses a schedule that is none, a condition that is none, and somebody without the right', async () => {
    await expect(asOwner(`select embedder.schedule_backfill('doc', 'now and then')`)).rejects.toMatchObject({
      code: '22023',
      hint: expect.stringMatching(/each minute/),
    });
    await expect(
      asOwner(`select embedder.schedule_backfill('doc', '* * * * *', 'nope = 1')`),
    ).rejects.toMatchObject({ code: '22023', message: expect.stringMatching(/"nope" does not exist/) });
    await database.query(`revoke usage on schema cron from ${owner.name}`);
    await expect(asOwner(`select embedder.schedule_backfill('doc')`)).rejects.toMatchObject({
      code: '42501',
      hint: expect.stringMatching(/^As a superuser: grant usage on schema cron to/),
    });
  });
});

describe('without pg_cron', () => {
  let database: MigratedDatabase;
  beforeAll(async () => {
    database = await createMigratedDatabase();
    await database.query(
      `create table doc (id int primary key, body text); select embedder.create_pipeline('doc', 'body')`,
    );
  });
  afterAll(() => database.drop());

  it('in another database says what to type there', async () => {
    const { rows } = await database.query<{ home: string | null }>(
      `select current_setting('cron.database_name', true) as home`,
    );
    await expect(
      database.query(`select embedder.schedule_backfill('doc', '0 3 * * *')`),
    ).rejects.toMatchObject(
      rows[0]!.home === null
        ? { code: '0A000', message: 'pg_cron does not run on this server' }
        : {
            code: '0A000',
            message: `pg_cron lives in database "${rows[0]!.home}" of this server`,
            hint: `There, as a role that may: select cron.schedule_in_database('pgembedder backfill doc', '0 3 * * *', 'select embedder.backfill(''doc'')', '${database.name}');`,
          },
    );
  });

  it('is not denied to a role that may not see whether the server runs it', async () => {
    const owner = await createRole();
    await database.query(`grant create on schema public to ${owner.name}; set role ${owner.name};
      create table hers (id int primary key, body text); select embedder.create_pipeline('hers', 'body', index => 'none'); reset role`);
    const client = new pg.Client({ connectionString: database.urlAs(owner) });
    await client.connect();
    try {
      for (const call of [`schedule_backfill('hers', '0 3 * * *')`, `unschedule_backfill('hers')`])
        await expect(client.query(`select embedder.${call}`)).rejects.toMatchObject({
          code: '0A000',
          message: `this database has no extension pg_cron, and ${owner.name} may not see whether the server runs it for another one`,
          hint: expect.stringMatching(
            /^As a superuser: show cron\.database_name; .* select cron\.schedule_in_database\('pgembedder backfill hers', .*call embedder\.backfill from a cron of your own\.$/,
          ),
        });
    } finally {
      await client.end();
    }
    await database.query(`select embedder.drop_pipeline('hers', true); drop owned by ${owner.name}`);
    await owner.drop();
  });

  it('at all says how to install it', async () => {
    const server = await startServer({ settings: { shared_preload_libraries: '' } });
    const other = await createDatabase({ vector: true, serverUrl: server.url });
    const kysely = openDatabase(other.url, 2);
    try {
      await migrate(kysely, []);
      await other.query(`create table doc (id int primary key, body text);
        select embedder.create_pipeline('doc', 'body', model => 'm', options => '{"dimensions": 3}')`);
      await expect(other.query(`select embedder.unschedule_backfill('doc')`)).rejects.toMatchObject({
        code: '0A000',
        message: 'pg_cron does not run on this server',
        hint: expect.stringMatching(/shared_preload_libraries/),
      });
    } finally {
      await kysely.destroy();
      await other.drop();
      await server.stop();
    }
  });
});
