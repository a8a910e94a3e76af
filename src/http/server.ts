import { once } from 'node:events';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createAdaptorServer } from '@hono/node-server';
import type { Logger } from 'pino';
import type { ScopedToken } from '../config.ts';
import { type Connection, type Database, openDatabase } from '../database/database.ts';
import { codeOf, messageOf, UserError } from '../errors.ts';
import { isLoopback } from '../loopback.ts';
import { Tokens } from './access/tokens.ts';
import { type HttpAddress, isDefaultAddress } from './address.ts';
import { Api, apiRoutes } from './api/api.ts';
import { Inference } from './api/inference.ts';
import { type ModelChoices, RequestedModels } from './api/models.ts';
import { createApp } from './app.ts';
import { createMetrics } from './metrics/metrics.ts';
import type { ListedEndpoint } from './operate/endpoint-states.ts';
import { Operate } from './operate/operate.ts';
import { Readiness } from './readiness.ts';
import type { OpenedPipeline } from './search/opened.ts';
import { searchRoute } from './search/search-route.ts';
import { AT_ONCE, Searches } from './search/searches.ts';
import type { Served } from './served.ts';
import { limitSockets, serverOptions } from './socket-limits.ts';

/** Connections for health and for metrics: a slow count of the queue must not make the database look away. */
const CONNECTIONS = 2;
/** Longer than any search may take: its server has gone without a word then. */
const SEARCH_ANSWER_MS = 70_000;
/** Time for answers that are being sent when the server closes. */
const FLUSH_MS = 2_000;

export interface HttpServerOptions {
  /** Made, and best not yet started: what happens before is not counted. */
  readonly served: Served;
  /** The worker's database, to which the server has up to two connections of its own, and four for searches; null without one. */
  readonly connection: Connection | null;
  readonly address: HttpAddress;
  /** Without any, everybody may do everything. */
  readonly tokens?: readonly ScopedToken[];
  /** Set where models are run for requests. */
  readonly api?: ModelChoices | null;
  /** Pipelines that requests may search, where there is a database. */
  readonly search?: SearchSettings | null;
  /** Servers elsewhere that run models, for the dashboard. */
  readonly endpoints?: readonly ListedEndpoint[];
  /** Origins of web pages that may read answers. */
  readonly origins?: readonly string[];
  readonly logger: Logger;
}

export interface SearchSettings {
  readonly opened: readonly OpenedPipeline[];
  /** Those that may rank what was found. */
  readonly models: ModelChoices;
}

/** The HTTP server of a worker. */
export interface HttpServer {
  /** Such as `http://127.0.0.1:8089`; null where another process has the default address. */
  readonly url: string | null;
  close(): Promise<void>;
}

/**
 * Serves health and metrics of a worker, and runs models for requests. It listens before the worker starts and until it has
 * stopped, so that both can be watched. When the worker stops it refuses new requests, and those that it has accepted are
 * answered before the engine ends.
 *
 * Where another process has the default address (a second worker of the machine), a worker says so in the log and does
 * without: its rows come first. An address that somebody has chosen has to be free, and so has that of a server without a worker.
 * @throws UserError when it cannot listen
 */
export async function startHttpServer(options: HttpServerOptions): Promise<HttpServer> {
  const { served, connection, address, logger, origins = [] } = options;
  const database = connection === null ? null : openDatabase(connection, CONNECTIONS);
  const readiness = new Readiness(served, database);
  const searching =
    connection !== null && options.search ? openSearches(options.search, connection, database!) : null;
  const choices = options.api ?? options.search?.models;
  const inference = choices && new Inference(new RequestedModels(() => served.embedder, choices));
  const routes = [...(options.api ? apiRoutes : []), ...(searching ? [searchRoute(searching.searches)] : [])];
  const api = inference && routes.length > 0 ? new Api(inference, routes) : null;
  const metrics = createMetrics(served, database, inference?.line);
  const operate = new Operate(served, database, {
    opened: options.search?.opened,
    endpoints: options.endpoints,
  });
  const tokens = new Tokens(options.tokens ?? []);
  const local = isLoopback(address.host);
  const app = createApp({ served, readiness, metrics, api, operate, tokens, local, origins, logger });
  const server = createAdaptorServer({ fetch: app.fetch, serverOptions }) as Server;
  limitSockets(server);
  if (api) served.events.on('stopping', (waitFor) => waitFor(api.close()));
  const url = await listen(server, address, logger, connection !== null);
  return {
    url,
    async close() {
      operate.close();
      await api?.close();
      if (url !== null) await end(server);
      await searching?.database.destroy();
      await database?.destroy();
    },
  };
}

function openSearches({ opened }: SearchSettings, connection: Connection, control: Database) {
  const database = openDatabase(connection, AT_ONCE, { answerMs: SEARCH_ANSWER_MS });
  return { database, searches: new Searches(opened, database, control) };
}

async function end(server: Server): Promise<void> {
  const closed = once(server, 'close');
  server.close();
  // A connection becomes idle when its answer is sent.
  const idle = setInterval(() => server.closeIdleConnections(), 20);
  const late = setTimeout(() => server.closeAllConnections(), FLUSH_MS);
  await closed;
  clearInterval(idle);
  clearTimeout(late);
}

/** @param optional whether to do without where another process has the default address */
async function listen(
  server: Server,
  address: HttpAddress,
  logger: Logger,
  optional: boolean,
): Promise<string | null> {
  const { host, port } = address;
  const shown = host.includes(':') ? `[${host}]` : host;
  try {
    server.listen(port, host);
    await once(server, 'listening');
  } catch (error) {
    const inUse = codeOf(error) === 'EADDRINUSE';
    const problem = `cannot serve HTTP on ${shown}:${port}: ${inUse ? 'another process listens there' : messageOf(error)}`;
    const hint = 'Set PGEMBEDDER_HTTP to another address, or to off';
    if (!optional || !inUse || !isDefaultAddress(address))
      throw new UserError(problem, { hint, cause: error });
    logger.warn(`${problem}; working without. ${hint}`);
    return null;
  }
  const url = `http://${shown}:${(server.address() as AddressInfo).port}`;
  logger.info({ url }, 'serving health and metrics');
  return url;
}
