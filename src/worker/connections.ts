import type { Logger } from 'pino';
import type { Connection } from '../database/database.ts';
import { type Listener, openListener } from '../database/listener.ts';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { findVectorOid } from '../database/pgvector.ts';
import { takesPreparedTransactions } from '../database/server.ts';
import { deviatingSettings } from '../database/sessions.ts';
import { UserError } from '../errors.ts';
import type { WorkerContext } from './context.ts';
import { Pools } from './pools.ts';
import { register } from './registration.ts';

/** What a worker knows once it is on the register of a database. */
export interface Attachment extends Pick<WorkerContext, 'vectorOid' | 'silentWriters'> {
  readonly workerId: number;
}

/** The connections of a worker: its pools, and one that listens. */
export class Connections {
  readonly pools: Pools;
  readonly #connection: Connection;
  readonly #logger: Logger;
  #listener: Listener | null = null;
  #closed = false;

  constructor(connection: Connection, logger: Logger) {
    this.pools = new Pools(connection);
    this.#connection = connection;
    this.#logger = logger;
  }

  /** Null where notifications do not arrive: then the worker polls. */
  get listener(): Listener | null {
    return this.#listener;
  }

  /**
   * Finds out what the connection can do, and goes on the register. May be called again when it has failed.
   * @param prepared nobody sees the worker before this has resolved
   * @throws UserError when schema or pgvector are not as they must be
   */
  async attach(prepared: Promise<unknown>): Promise<Attachment> {
    const { heart } = this.pools;
    await requireSchema(heart);
    const vectorOid = await findVectorOid(heart);
    if (vectorOid === null)
      throw new UserError('pgvector was dropped from this database', { hint: 'Run: pgembedder migrate' });
    await this.#listen();
    await prepared;
    const silentWriters = await takesPreparedTransactions(heart);
    const workerId = await register(heart, this.#listener !== null);
    return { workerId, vectorOid, silentWriters };
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#listener?.close();
    await this.pools.close();
  }

  async #listen(): Promise<void> {
    const { heart } = this.pools;
    await this.#listener?.close();
    this.#listener = await openListener(this.#connection, heart);
    // A stop that came while the listener was opened could not close it.
    if (this.#closed) await this.#listener?.close();
    if (this.#listener) {
      // A notification has arrived here: so the connection is a session of our own.
      await this.pools.own();
      return;
    }
    this.#logger.warn(
      'LISTEN does not work on this connection (a pooler in transaction mode?), polling instead',
    );
    const settings = await deviatingSettings(heart);
    if (settings.length > 0)
      this.#logger.warn(
        { settings },
        "the worker's role or database has settings that the worker should not have, and behind a pooler it cannot change them: see pgembedder doctor",
      );
  }
}
