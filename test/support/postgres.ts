import { randomBytes } from 'node:crypto';
import pg from 'pg';
import { inject } from 'vitest';

export { type ServerOptions, type StopMode, startServer, type TestServer } from './server.ts';

export interface DatabaseOptions {
  /** Run `create extension vector` in it (default false: tests of the migrations do it their own way). */
  vector?: boolean;
  /** Server to create it on, as a superuser URL (default: the shared one of this run). */
  serverUrl?: string;
  /** Its encoding, with the locale C (default: the server's). */
  encoding?: string;
}

/** A database of its own for one test file. */
export interface TestDatabase {
  url: string;
  name: string;
  /** Ten connections at most. */
  pool: pg.Pool;
  query<R extends pg.QueryResultRow>(sql: string, parameters?: unknown[]): Promise<pg.QueryResult<R>>;
  /** URL of the same database for another role. */
  urlAs(role: TestRole): string;
  /** Ends the pool and drops the database, cutting off whoever is still connected. */
  drop(): Promise<void>;
}

export interface TestRole {
  name: string;
  password: string;
  /** Drops the role; first drop the databases in which it owns things or has rights. */
  drop(): Promise<void>;
}

/**
 * Creates an empty database with a name of its own, from template0.
 *
 * @example
 * const database = await createDatabase({ vector: true });
 * afterAll(() => database.drop());
 */
export async function createDatabase(options: DatabaseOptions = {}): Promise<TestDatabase> {
  const serverUrl = options.serverUrl ?? inject('serverUrl');
  const name = uniqueName('db');
  await asSuperuser(
    serverUrl,
    `create database ${name} template template0 ${options.encoding ? `encoding '${options.encoding}' lc_collate 'C' lc_ctype 'C'` : ''}`,
  );
  await asSuperuser(serverUrl, `alter database ${name} set timezone = 'UTC'`); // a given server may have its own
  const url = withChanges(serverUrl, (target) => {
    target.pathname = `/${name}`;
  });
  const pool = new pg.Pool({ connectionString: url, max: 10 });
  // A connection that the server ends while it idles in the pool (a restart, a kill) is none of the tests' errors.
  pool.on('error', () => {});
  if (options.vector) await pool.query('create extension vector');
  return {
    url,
    name,
    pool,
    query: (sql, parameters) => pool.query(sql, parameters),
    urlAs: (role) =>
      withChanges(url, (target) => {
        target.username = role.name;
        target.password = role.password;
      }),
    async drop() {
      await pool.end();
      await asSuperuser(serverUrl, `drop database if exists ${name} with (force)`);
    },
  };
}

/**
 * Creates a login role that is nobody special; grant it what the test needs.
 *
 * @param attributes more attributes for `create role`, such as `createdb`
 */
export async function createRole(attributes = '', serverUrl = inject('serverUrl')): Promise<TestRole> {
  const name = uniqueName('role');
  const password = randomBytes(8).toString('hex');
  await asSuperuser(serverUrl, `create role ${name} login password '${password}' ${attributes}`);
  return { name, password, drop: () => asSuperuser(serverUrl, `drop role if exists ${name}`) };
}

async function asSuperuser(serverUrl: string, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: serverUrl });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}

/** Test files run beside each other, and on a given server beside other runs. */
function uniqueName(kind: string): string {
  return `pgembedder_test_${kind}_${randomBytes(6).toString('hex')}`;
}

function withChanges(url: string, change: (target: URL) => void): string {
  const target = new URL(url);
  change(target);
  return target.href;
}
