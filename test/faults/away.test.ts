import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net';
import { sql } from 'kysely';
import { pino } from 'pino';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { retrying } from '../../src/database/retry.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  jobCount,
  type MigratedDatabase,
  workerOn,
} from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';
import { startServer, type TestServer } from '../support/postgres.ts';

let server: TestServer;
let database: MigratedDatabase;

beforeAll(async () => {
  server = await startServer();
  database = await createMigratedDatabase({ serverUrl: server.url });
  await database.query(`create table doc (id int primary key, body text);
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
});
afterAll(async () => {
  await database.drop();
  await server.stop();
});

/** A way to the server on which every connection can be made to lead nowhere, while it looks open. */
async function openFreezable(): Promise<{ url: string; freeze: () => void; close: () => void }> {
  const sockets = new Set<Socket>();
  let frozen = new WeakSet<Socket>();
  const proxy: Server = createServer((client) => {
    const upstream = connect(server.port, '127.0.0.1');
    for (const [from, to] of [
      [client, upstream],
      [upstream, client],
    ] as const) {
      sockets.add(from);
      from.on('data', (chunk) => {
        if (!frozen.has(from)) to.write(chunk);
      });
      from.on('error', () => {});
      from.on('close', () => {
        sockets.delete(from);
        if (!frozen.has(from)) to.destroy();
      });
    }
  });
  proxy.listen(0, '127.0.0.1');
  await once(proxy, 'listening');
  const url = new URL(database.url);
  url.port = String((proxy.address() as AddressInfo).port);
  return {
    url: url.href,
    freeze: () => {
      frozen = new WeakSet(sockets);
    },
    close: () => {
      for (const socket of sockets) socket.destroy();
      proxy.close();
    },
  };
}

describe('a worker', () => {
  it('that is started while the server is away waits for it, saying so once', async () => {
    await server.halt('fast');
    const lines: string[] = [];
    let waits = () => {};
    const waiting = new Promise<void>((resolve) => {
      waits = resolve;
    });
    const logger = pino(
      { level: 'warn' },
      {
        write: (line: string) => {
          lines.push((JSON.parse(line) as { msg: string }).msg);
          waits();
        },
      },
    );
    const worker = workerOn(database, { logger, embedder: new FakeEmbedder() });
    const started = worker.start();
    await waiting;
    await server.start();
    await started;
    expect(worker.state).toBe('working');
    await worker.stop();
    // A server that has just come back may be slow to notify, and that is said as well.
    expect(lines.filter((line) => line === 'database is away, waiting for it')).toHaveLength(1);
  });

  it('that is to drain while the server is away fails', async () => {
    await server.halt('fast');
    await expect(workerOn(database, { embedder: new FakeEmbedder() }).drain()).rejects.toMatchObject({
      code: 'ECONNREFUSED',
    });
    await server.start();
  });

  it('whose connections lead nowhere opens others: it is woken, it beats and it works', async () => {
    const way = await openFreezable();
    const worker = workerOn(database, { connection: way.url, embedder: new FakeEmbedder() });
    try {
      await worker.start();
      await once(worker.events, 'idle');
      const lost = once(worker.events, 'listening');
      way.freeze();
      expect(await lost).toEqual([false]);
      expect(await once(worker.events, 'listening')).toEqual([true]);
      await database.query(`insert into doc values (1, 'text')`);
      await pollUntil(async () => (await jobCount(database)) === 0, { what: 'the row', deadline: 50_000 });
      expect((await database.query('select from doc_embedding')).rowCount).toBe(1);
    } finally {
      await worker.stop();
      way.close();
    }
  }, 90_000);
});

describe('a connection to a server that has become read-only', () => {
  it('is not used again, and whoever works all the time waits for another', async () => {
    const pool = openDatabase(database.url, 1);
    try {
      const pid = async () =>
        (await sql<{ pid: number }>`select pg_backend_pid() as pid`.execute(pool)).rows[0]!.pid;
      const standby = await pid();
      await sql`set session characteristics as transaction read only`.execute(pool);
      const waits: string[] = [];
      await retrying(() => sql`delete from doc`.execute(pool), {
        onRetry: (error) => waits.push(error.message),
      });
      expect(waits).toEqual(['cannot execute DELETE in a read-only transaction']);
      expect(await pid()).not.toBe(standby);
    } finally {
      await pool.destroy();
    }
  });
});
