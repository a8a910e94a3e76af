import { once } from 'node:events';
import { rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:net';
import type { PGlite } from '@electric-sql/pglite';
import { Backend } from './backend.ts';
import { Connection } from './connection.ts';

/** Long enough for a person who types a transaction into psql, short enough that nobody waits for ever in a deadlock. */
const IDLE_LIMIT_MS = 30_000;

export interface SocketServerOptions {
  /** Milliseconds that a connection may idle in a transaction while others wait (default 30,000). */
  idleLimit?: number;
  /** Called when the backend has crashed inside and must not go on; its process should end (default: throws). */
  onBroken?: (reason: string) => void;
}

/**
 * Serves one PGlite to many connections over PostgreSQL's protocol on a unix socket. They take turns at its one
 * backend, and share the session: settings, temporary tables and session-level advisory locks are everyone's.
 */
export class SocketServer {
  readonly #server: Server;
  readonly #backend: Backend;
  readonly #connections = new Set<Connection>();

  private constructor(backend: Backend, idleLimit: number) {
    this.#backend = backend;
    let lastId = 0;
    this.#server = createServer((socket) => {
      const connection = new Connection(socket, backend, {
        id: ++lastId,
        idleLimit,
        onNotifications: (notifications) => {
          for (const each of this.#connections) each.deliver(notifications);
        },
      });
      this.#connections.add(connection);
      socket.once('close', () => this.#connections.delete(connection));
    });
  }

  /** Listens on `path`; a socket file that a dead server has left there is removed. */
  static async listen(
    database: PGlite,
    path: string,
    options: SocketServerOptions = {},
  ): Promise<SocketServer> {
    const backend = await Backend.over(database, options.onBroken ?? fail);
    const server = new SocketServer(backend, options.idleLimit ?? IDLE_LIMIT_MS);
    await rm(path, { force: true });
    server.#server.listen(path);
    await once(server.#server, 'listening');
    return server;
  }

  /** Ends all connections, rolls back what they had open, and closes the database. */
  async close(): Promise<void> {
    this.#server.close();
    await Promise.all([...this.#connections].map((connection) => connection.shutDown()));
    await this.#backend.close();
  }
}

function fail(reason: string): never {
  throw new Error(`PGlite is broken: ${reason}`);
}
