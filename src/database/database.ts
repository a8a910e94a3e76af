import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { Kysely, PostgresDialect, sql } from 'kysely';
import pg from 'pg';
import { readConnectionUrl } from './connection-url.ts';
import type { Schema } from './schema.ts';

/** Where PostgreSQL is: a URL as psql reads it, or the parts of one (the embedded Postgres is reached by its socket's folder). */
export type Connection = string | pg.ClientConfig;

/** A pool of connections with Kysely on top. Close it with `destroy()`. */
export type Database = Kysely<Schema>;

/**
 * Opens a pool. Nothing is connected before the first query.
 * @param max most connections at once
 */
export function openDatabase(connection: Connection, max = 5): Database {
  const pool = new pg.Pool({ ...clientConfig(connection), max, types: { getTypeParser }, Client });
  // An idle connection that breaks (a restart of the server) must not end the process; the next query says it better.
  pool.on('error', () => {});
  // Likewise one that breaks between two queries of whoever holds it.
  pool.on('connect', (client) => client.on('error', () => {}));
  return new Kysely<Schema>({ dialect: new PostgresDialect({ pool }) });
}

/** Its socket goes with an attempt that failed: `pg` leaves it open where a password is missing, and the process never ends. */
class Client extends pg.Client {
  constructor(config?: pg.ClientConfig) {
    super(config);
    const { connection } = this as unknown as { connection: EventEmitter & { stream: Duplex } };
    connection.on('error', () => connection.stream.destroy());
  }
}

/** What `pg` takes, from either form of a connection. */
export function clientConfig(connection: Connection): pg.ClientConfig {
  const given = typeof connection === 'string' ? readConnectionUrl(connection) : connection;
  return { application_name: 'pgembedder', connectionTimeoutMillis: 10_000, keepAlive: true, ...given };
}

// Counts are far below 2^53, and numbers are what JSON and arithmetic want. Intervals stay text.
const INT8 = 20;
const INTERVAL = 1186;
function getTypeParser(oid: number, format?: 'text' | 'binary') {
  if (oid === INT8) return Number;
  if (oid === INTERVAL) return String;
  return pg.types.getTypeParser(oid, format as 'text');
}

/** The oid of pgvector's type in this database; null when the extension is not there. */
export async function findVectorOid(database: Database): Promise<number | null> {
  const { rows } = await sql<{ oid: number }>`
    select t.oid::int8 as oid from pg_type t
    join pg_extension e on e.extname = 'vector' and e.extnamespace = t.typnamespace
    where t.typname = 'vector'`.execute(database);
  return rows[0]?.oid ?? null;
}
