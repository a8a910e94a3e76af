import pg from 'pg';
import type { Database } from '../../src/database/database.ts';
import { type ServerOptions, startServer, type TestServer } from '../../test/support/server.ts';
import { migrate, openDatabase } from './built.ts';

/**
 * A server as one would run it: every commit is on disk before it is acknowledged. The tests' server does without, and
 * has pg_cron, whose workers would only disturb.
 */
const SETTINGS: ServerOptions['settings'] = {
  fsync: 'on',
  full_page_writes: 'on',
  synchronous_commit: 'on',
  shared_buffers: '512MB',
  max_wal_size: '8GB',
  checkpoint_timeout: '15min',
  shared_preload_libraries: '',
};

export function startBenchServer(): Promise<TestServer> {
  return startServer({ settings: SETTINGS });
}

/** A database of its own for one row, with schema embedder in it. */
export interface BenchDatabase {
  readonly name: string;
  readonly url: string;
  readonly kysely: Database;
  /** One connection, for what is timed. */
  readonly client: pg.Client;
  drop(): Promise<void>;
}

export async function createBenchDatabase(server: TestServer, name: string): Promise<BenchDatabase> {
  await asAdmin(server, `create database ${name} template template0`);
  const url = server.url.replace(/\/postgres$/, `/${name}`);
  const kysely = openDatabase(url, 2);
  await migrate(kysely);
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  return {
    name,
    url,
    kysely,
    client,
    async drop() {
      await client.end();
      await kysely.destroy();
      await asAdmin(server, `drop database ${name} with (force)`);
    },
  };
}

async function asAdmin(server: TestServer, statement: string): Promise<void> {
  const client = new pg.Client({ connectionString: server.url });
  await client.connect();
  try {
    await client.query(statement);
  } finally {
    await client.end();
  }
}
