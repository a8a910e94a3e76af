import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Logger } from 'pino';
import { type Connection, openDatabase } from '../database/database.ts';
import { codeOf, messageOf, UserError } from '../errors.ts';
import type { Worker } from '../worker/worker.ts';
import { type HttpAddress, isDefaultAddress, isLoopback } from './address.ts';
import { createApp } from './app.ts';
import { createMetrics } from './metrics/metrics.ts';
import { Readiness } from './readiness.ts';

/** One connection each for health and for metrics: a slow count of the queue must not make the database seem away. */
const CONNECTIONS = 2;

export interface HttpServerOptions {
  /** A worker that was made; best not started yet, since what happens before is not counted. */
  readonly worker: Worker;
  /** The worker's database; the server has up to two connections of its own to it. */
  readonly connection: Connection;
  readonly address: HttpAddress;
  readonly token?: string | undefined;
  readonly logger: Logger;
}

/** The HTTP server of a worker. */
export interface HttpServer {
  /** The URL, `http://127.0.0.1:8089`; null where another process has the default address. */
  readonly url: string | null;
  close(): Promise<void>;
}

/**
 * Serves health and metrics of a worker. It listens before the worker starts and until it has stopped, so that both can
 * be watched.
 *
 * Where another process has the default address (a second worker of the machine), it says so in the log and serves
 * nothing: the work is more important. An address that was chosen has to be free.
 * @throws UserError when it cannot listen on an address other than the default one
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { worker, connection, address, token, logger } = options;
  const database = openDatabase(connection, CONNECTIONS);
  const readiness = new Readiness(worker, database);
  const metrics = createMetrics(worker, database);
  const app = createApp({ worker, readiness, metrics, token, local: isLoopback(address.host), logger });
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  const url = await listen(server, address, logger);
  return {
    url,
    async close() {
      if (url !== null) {
        const closed = once(server, 'close');
        server.close();
        server.closeAllConnections();
        await closed;
      }
      await database.destroy();
    },
  };
}

async function listen(server: Server, address: HttpAddress, logger: Logger): Promise<string | null> {
  const { host, port } = address;
  const shown = host.includes(':') ? `[${host}]` : host;
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const inUse = codeOf(error) === 'EADDRINUSE';
    const problem = `cannot serve HTTP on ${shown}:${port}: ${inUse ? 'another process listens there' : messageOf(error)}`;
    const hint = 'Set PGEMBEDDER_HTTP to another address, or to off';
    if (!inUse || !isDefaultAddress(address)) throw new UserError(problem, { hint, cause: error });
    logger.warn(`${problem}; working without. ${hint}`);
    return null;
  }
  const url = `http://${shown}:${(server.address() as AddressInfo).port}`;
  logger.info({ url }, 'serving health and metrics');
  return url;
}
