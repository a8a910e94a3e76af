import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { sql } from 'kysely';
import pgListen, { type Subscriber } from 'pg-listen';
import { type Connection, clientConfig, type Database } from './database.ts';

/** The channel that triggers and declarations notify. */
export const CHANNEL = 'embedder_job';

/** How long a notification to ourselves may take before LISTEN counts as not working. */
const PROBE_MS = 1_000;
const PROBE = 'probe ';

interface ListenerEvents {
  /** Somebody notified: '' for new jobs, 'pipeline' when a declaration changed, 'request' when a query text waits. */
  wake: [payload: string];
  /** The connection broke; it is being opened again, and what was sent meanwhile is lost. */
  lost: [];
  /** The connection is there again. */
  restored: [];
}

/**
 * LISTEN on a connection of its own. Create it with `openListener`.
 *
 * LISTEN is accepted and yet never delivers behind PgBouncer in transaction mode and on the embedded Postgres, so it
 * is believed only when a notification to ourselves has arrived.
 */
export class Listener extends EventEmitter<ListenerEvents> {
  readonly #subscriber: Subscriber;

  constructor(subscriber: Subscriber) {
    super();
    this.#subscriber = subscriber;
    // An empty payload comes as undefined.
    subscriber.notifications.on(CHANNEL, (payload = '') => {
      if (!payload.startsWith(PROBE)) this.emit('wake', payload);
    });
    subscriber.events.on('reconnect', () => this.emit('lost'));
    subscriber.events.on('connected', () => this.emit('restored'));
    // Without a handler an 'error' event would end the process; the subscriber reconnects by itself.
    subscriber.events.on('error', () => this.emit('lost'));
  }

  /** Whether a notification sent through `database` arrives here within a second. */
  async hears(database: Database): Promise<boolean> {
    const probe = PROBE + randomUUID();
    const heard = new EventEmitter<{ probe: [] }>();
    const check = (payload: string) => payload === probe && heard.emit('probe');
    this.#subscriber.notifications.on(CHANNEL, check);
    try {
      const arrival = once(heard, 'probe', { signal: AbortSignal.timeout(PROBE_MS) });
      await Promise.all([arrival, sql`select pg_notify(${CHANNEL}, ${probe})`.execute(database)]);
      return true;
    } catch (error) {
      if (error instanceof Error && error.name === 'AbortError') return false;
      throw error;
    } finally {
      this.#subscriber.notifications.removeListener(CHANNEL, check);
    }
  }

  async close(): Promise<void> {
    await this.#subscriber.close();
  }
}

/** Opens a listener; null where notifications do not arrive, and polling has to do. */
export async function openListener(connection: Connection, database: Database): Promise<Listener | null> {
  const subscriber = pgListen.default(clientConfig(connection), {
    parse: (payload) => payload,
    serialize: (payload) => payload,
    retryTimeout: 0,
    retryInterval: (attempt) => Math.min(100 * 2 ** attempt, 5_000),
  });
  const listener = new Listener(subscriber);
  let heard = false;
  try {
    await subscriber.connect();
    await subscriber.listenTo(CHANNEL);
    heard = await listener.hears(database);
  } finally {
    // It would go on to reconnect.
    if (!heard) await listener.close();
  }
  return heard ? listener : null;
}
