import type { EventEmitter } from 'node:events';
import type { Duplex } from 'node:stream';
import { Kysely, PostgresDialect, type PostgresPool, type PostgresPoolClient } from 'kysely';
import pg from 'pg';
import { readConnectionUrl } from './connection-url.ts';
import { outlivesConnection } from './errors.ts';
import type { Schema } from './schema.ts';

/** Where PostgreSQL is: a URL as psql reads it, or the parts of one (the embedded Postgres is reached by its socket's folder). */
export type Connection = string | pg.ClientConfig;

/** A pool of connections with Kysely on top. Close it with `destroy()`. */
export type Database = Kysely<Schema>;

/** How the connections of a pool are to be. */
export interface DatabaseOptions {
  /** A query without an answer after this: its server has gone without a word, and the connection is given up. */
  readonly answerMs?: number;
  /** Called with each new connection, before anybody gets it. */
  readonly prepare?: (client: pg.ClientBase) => Promise<unknown>;
}

/**
 * Opens a pool. Nothing is connected before the first query.
 * @param max most connections at once
 */
export function openDatabase(connection: Connection, max = 5, options: DatabaseOptions = {}): Database {
  const { answerMs, prepare } = options;
  const pool = new pg.Pool({
    ...clientConfig(connection),
    max,
    types: { getTypeParser },
    Client,
    ...(answerMs && { query_timeout: answerMs }),
    ...(prepare && { onConnect: prepare }),
  });
  // An idle connection that breaks (the server restarts) must not end the process: the next query reports it better.
  pool.on('error', () => {});
  // The same for a connection that breaks between two queries of its user.
  pool.on('connect', (client) => client.on('error', () => {}));
  return new Kysely<Schema>({ dialect: new PostgresDialect({ pool: new CheckedPool(pool) }) });
}

/**
 * A pool that gives up connections to the wrong server: after a failover they lead to a standby or nowhere. When one has
 * turned out so, all that are older are given up.
 */
class CheckedPool implements PostgresPool {
  readonly #pool: pg.Pool;
  readonly #openedAt = new WeakMap<pg.ClientBase, number>();
  #goodSince = 0;

  constructor(pool: pg.Pool) {
    this.#pool = pool;
    pool.on('connect', (client) => this.#openedAt.set(client, performance.now()));
  }

  async connect(): Promise<PostgresPoolClient> {
    const client = await this.#pool.connect();
    if (!this.#isGood(client)) {
      client.release(true);
      return this.connect();
    }
    const note = (error: unknown) => {
      if (outlivesConnection(error)) this.#goodSince = performance.now();
      throw error;
    };
    return {
      query: ((text: string, values: unknown[]) =>
        client.query(text, values).catch(note)) as unknown as PostgresPoolClient['query'],
      release: () => client.release(!this.#isGood(client)),
    };
  }

  end(): Promise<void> {
    return this.#pool.end();
  }

  #isGood(client: pg.ClientBase): boolean {
    return (this.#openedAt.get(client) ?? 0) >= this.#goodSince;
  }
}

/** Closes the socket when connecting fails: `pg` leaves it open where a password is missing, and the process never ends. */
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
