import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  knownModels,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { createDatabase, createRole, type TestRole } from '../../support/postgres.ts';

let database: MigratedDatabase;
let worker: Worker;
let reader: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query('create schema "Ext"; create extension dblink schema "Ext"');
  reader = await createRole();
  await database.query(`grant usage on schema embedder, "Ext" to ${reader.name}`);
  worker = workerOn(database, { embedder: new FakeEmbedder() });
  await worker.start();
});
afterAll(async () => {
  await worker?.stop();
  await database.drop();
  await reader.drop();
});
afterEach(() =>
  database.query('drop server if exists embedder_loopback cascade; truncate embedder.query_vector'),
);

/** A new session. */
async function withSession(url: string, use: (client: pg.Client) => Promise<void>): Promise<void> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    await use(client);
  } finally {
    await client.end();
  }
}

/** Asks for the vector of a new text; gives back its length. */
async function ask(on: { query(statement: string): Promise<{ rows: unknown[] }> }): Promise<number> {
  const { rows } = await on.query(
    `select public.vector_dims(embedder.embed('query ' || clock_timestamp())) as n`,
  );
  return (rows[0] as { n: number }).n;
}

const connections = async (client: pg.Client) =>
  (await client.query<{ names: string[] | null }>('select "Ext".dblink_get_connections() as names')).rows[0]!
    .names;

describe('the second connection', () => {
  it('stays open for the session, and is opened again when it broke', () =>
    withSession(database.url, async (client) => {
      expect(await ask(client)).toBe(384);
      expect(await connections(client)).toEqual(['embedder_loopback']);
      const pid = () =>
        client
          .query<{ pid: number }>(
            `select pid from "Ext".dblink('embedder_loopback', 'select pg_backend_pid()') as t(pid int)`,
          )
          .then(({ rows }) => rows[0]!.pid);
      const first = await pid();
      expect(await ask(client)).toBe(384);
      expect(await pid()).toBe(first);
      await database.query('select pg_terminate_backend($1)', [first]);
      expect(await ask(client)).toBe(384);
      expect(await pid()).not.toBe(first);
    }));

  it('is refused to a session that has not the rights of the role behind it; cached vectors are not', () =>
    withSession(database.urlAs(reader), async (client) => {
      await expect(ask(client)).rejects.toMatchObject({
        code: '42501',
        message: `embed needs a second connection for a text that it has no vector of yet, and "${reader.name}" may not have one with the rights of "postgres"`,
        hint: expect.stringContaining(`select * from embedder.grant_search('${reader.name}')`),
      });
      await database.query(`select embedder.embed('known')`);
      await database.query(`update embedder.query_vector set used_at = 'yesterday'`);
      const { rows } = await client.query(`select public.vector_dims(embedder.embed('known')) as n`);
      expect(rows).toEqual([{ n: 384 }]);
      expect(await connections(client)).toBeNull();
      await expect(client.query('select * from embedder.query_vector')).rejects.toMatchObject({
        code: '42501',
      });
    }));

  it('stays open for members of a role of its own, which needs few rights', async () => {
    const loopback = await createRole();
    const { port, hostname } = new URL(database.url);
    try {
      await database.query(`create server embedder_loopback foreign data wrapper dblink_fdw
          options (host '${hostname}', port '${port}', dbname '${database.name}');
        create user mapping for postgres server embedder_loopback options (user '${loopback.name}')`);
      await withSession(database.urlAs(reader), async (client) => {
        await expect(ask(client)).rejects.toMatchObject({
          code: '42501',
          hint: `grant "${loopback.name}" to "${reader.name}";`.replaceAll('"', ''),
        });
      });
      expect((await database.query(`select * from embedder.grant_search('${reader.name}')`)).rows).toEqual(
        [],
      );
      await withSession(database.urlAs(reader), async (client) => {
        expect(await ask(client)).toBe(384);
        expect(await connections(client)).toEqual(['embedder_loopback']);
        await client.query(`select embedder.embed('known')`);
        await database.query(`update embedder.query_vector set used_at = 'yesterday'`);
        await client.query(`select embedder.embed('known')`);
        const { rows } = await database.query(
          `select from embedder.query_vector where used_at > 'today'::timestamptz`,
        );
        expect(rows).toHaveLength(1);
        // What it does after a wait in vain.
        await client.query(
          `select from "Ext".dblink('embedder_loopback', 'select embedder.drop_request(gen_random_uuid())') as t(done text)`,
        );
      });
    } finally {
      await database.query(`drop owned by ${loopback.name}`);
      await loopback.drop();
    }
  });

  it('goes where the foreign server says, with its user', async () => {
    const { port, hostname } = new URL(database.url);
    const server = (at: string) => `create server embedder_loopback foreign data wrapper dblink_fdw
      options (host '${hostname}', port '${at}', dbname '${database.name}');
      create user mapping for current_user server embedder_loopback options (user '${reader.name}')`;
    // The reader may not post requests itself: so it is he who is there.
    await database.query(server(port));
    await withSession(database.url, async (client) => {
      await expect(ask(client)).rejects.toMatchObject({ code: '42501' });
    });
    await database.query(
      `alter user mapping for current_user server embedder_loopback options (set user 'postgres')`,
    );
    await withSession(database.url, async (client) => expect(await ask(client)).toBe(384));
    await database.query(`alter user mapping for current_user server embedder_loopback options (drop user)`);
    await withSession(database.url, async (client) => {
      await expect(ask(client)).rejects.toMatchObject({
        code: '42501',
        message: expect.stringContaining('no user in the user mapping'),
      });
    });
    await database.query(`drop server embedder_loopback cascade; ${server('1')}`);
    await withSession(database.url, async (client) => {
      await expect(ask(client)).rejects.toMatchObject({
        code: '08001',
        message: `the second connection to database "${database.name}", which embed needs, was refused`,
        detail: expect.stringMatching(/could not establish connection.*refused/is),
        hint: expect.stringMatching(/create server embedder_loopback .*user mapping for postgres /),
      });
    });
  });
});

describe('an owner of the schema who is no superuser', () => {
  it('is told what to do, and may be granted dblink_connect_u', async () => {
    const owner = await createRole();
    const other = await createDatabase({ vector: true });
    const url = other.urlAs(owner);
    const kysely = openDatabase(url);
    const otherWorker = workerOn({ ...other, url }, { embedder: new FakeEmbedder() });
    try {
      await other.query(
        `create extension dblink; grant create on database ${other.name} to ${owner.name}; grant create on schema public to ${owner.name}`,
      );
      await migrate(kysely, knownModels());
      await otherWorker.start();
      await withSession(url, async (client) => {
        await expect(ask(client)).rejects.toMatchObject({
          code: '08001',
          detail: expect.stringContaining('password'),
          hint: expect.stringContaining(`options (user '${owner.name}', password`),
        });
        await other.query(`grant execute on function dblink_connect_u(text, text) to ${owner.name}`);
        expect(await ask(client)).toBe(384);
      });
    } finally {
      await otherWorker.stop();
      await kysely.destroy();
      await other.drop();
      await owner.drop();
    }
  });
});

describe('a database without dblink', () => {
  it('says what is missing, and who can help', async () => {
    const other = await createMigratedDatabase();
    try {
      await expect(ask(other)).rejects.toMatchObject({
        code: '0A000',
        message: 'embed needs the extension dblink, which this database does not have',
        hint: expect.stringMatching(/As a superuser, .*create extension dblink;/),
      });
    } finally {
      await other.drop();
    }
  });
});
