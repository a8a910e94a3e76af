import { randomUUID } from 'node:crypto';
import { EventEmitter, once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { sql } from 'kysely';
import pg from 'pg';
import { type Connection, clientConfig, type Database } from './database.ts';

/** The channel that triggers and declarations notify. */
export const CHANNEL = 'embedder_job';

/** How long a notification to ourselves may take before LISTEN counts as not working. */
const PROBE_MS = 1_000;
/** How often the connection is tried, and how long that may take: a connection to nowhere breaks without an error. */
const CHECK_EVERY_MS = 2_000;
const CHECK_MS = 3_000;
/** The first and the longest wait before another connection is opened. */
const REOPEN_MS = 100;
const REOPEN_LIMIT_MS = 5_000;

interface ListenerEvents {
  /** Somebody notified: '' for new jobs, 'pipeline' when a declaration changed, 'request' when a query text waits. */
  wake: [payload: string];
  /** The connection broke; another one is being opened, and what is sent meanwhile is lost. */
  lost: [];
  /** There is a connection again. */
  restored: [];
}

/**
 * LISTEN on a connection of its own. Create it with `openListener`.
 *
 * LISTEN is accepted and yet never delivered behind PgBouncer in transaction mode, so it is believed only when a
 * notification from another connection has arrived. After that the connection notifies itself every two seconds, on a
 * channel of its own: when nothing comes, another one is opened.
 */
export class Listener extends EventEmitter<ListenerEvents> {
  readonly #connection: Connection;
  readonly #probeChannel = `embedder_probe_${randomUUID()}`;
  readonly #probes = new EventEmitter<{ probe: [] }>();
  #client: pg.Client | undefined;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;
  #resting = false;

  constructor(connection: Connection) {
    super();
    this.#connection = connection;
  }

  /** Connects and listens. */
  async open(): Promise<void> {
    const client = new pg.Client(clientConfig(this.#connection));
    client.on('notification', ({ channel, payload = '' }) => {
      if (channel === CHANNEL) this.emit('wake', payload);
      else this.#probes.emit('probe');
    });
    // Without a handler an 'error' event would end the process.
    client.on('error', () => this.#lose(client));
    client.on('end', () => this.#lose(client));
    try {
      await client.connect();
      await client.query(`listen "${CHANNEL}"; listen "${this.#probeChannel}"`);
    } catch (error) {
      destroy(client);
      throw error;
    }
    if (this.#closed) return destroy(client);
    this.#client = client;
  }

  /** Whether a notification sent through `database` arrives here within a second. */
  hears(database: Database): Promise<boolean> {
    return this.#heard(() => sql`select pg_notify(${this.#probeChannel}, '')`.execute(database), PROBE_MS);
  }

  /** From now on tries the connection every two seconds, and replaces it when it is gone. */
  watch(): void {
    this.#timer = setTimeout(async () => {
      const client = this.#client;
      // With another LISTEN, so that pg_stat_activity shows what this session is for.
      const probe = `listen "${CHANNEL}"; notify "${this.#probeChannel}"`;
      const well = await this.#heard(() => client!.query(probe), CHECK_MS).catch(() => false);
      if (this.#client !== client || this.#closed || this.#resting) return;
      if (well) this.watch();
      else this.#lose(client!);
    }, CHECK_EVERY_MS);
    this.#timer.unref();
  }

  /** Whether there is a connection. */
  get connected(): boolean {
    return this.#client !== undefined;
  }

  /** Says nothing to the server until `resume`: the connection is not tried, and not replaced when it breaks. */
  rest(): void {
    this.#resting = true;
    clearTimeout(this.#timer);
  }

  /** Ends `rest`. */
  resume(): void {
    this.#resting = false;
    if (this.#client) this.watch();
    else void this.#reopen();
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    const client = this.#client;
    this.#client = undefined;
    if (!client) return;
    // A connection to nowhere would never be closed.
    await Promise.race([client.end(), wait(PROBE_MS, undefined, { ref: false })]);
    destroy(client);
  }

  async #heard(send: () => Promise<unknown>, limitMs: number): Promise<boolean> {
    const limit = new AbortController();
    const timer = setTimeout(() => limit.abort(), limitMs);
    try {
      const arrival = once(this.#probes, 'probe', { signal: limit.signal });
      // A connection to nowhere never answers: so it waits for the notification alone.
      const sent = send();
      sent.catch((error: unknown) => limit.abort(error));
      await arrival;
      await sent;
      return true;
    } catch (error) {
      if (limit.signal.reason instanceof Error && limit.signal.reason.name !== 'AbortError')
        throw limit.signal.reason;
      if (limit.signal.aborted) return false;
      throw error;
    } finally {
      clearTimeout(timer);
    }
  }

  #lose(client: pg.Client): void {
    destroy(client);
    if (this.#client !== client) return;
    this.#client = undefined;
    clearTimeout(this.#timer);
    this.emit('lost');
    if (!this.#resting) void this.#reopen();
  }

  async #reopen(): Promise<void> {
    for (let ms = REOPEN_MS; !this.#closed; ms = Math.min(2 * ms, REOPEN_LIMIT_MS)) {
      try {
        await this.open();
      } catch {
        await wait(ms, undefined, { ref: false });
        continue;
      }
      if (this.#closed) return;
      this.emit('restored');
      this.watch();
      return;
    }
  }
}

/** Ends a connection without telling the server, which may not be there. */
function destroy(client: pg.Client): void {
  (client as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
}

/** Opens a listener; null where notifications do not arrive, and the worker has to poll. */
export async function openListener(connection: Connection, database: Database): Promise<Listener | null> {
  const listener = new Listener(connection);
  let heard = false;
  try {
    await listener.open();
    heard = await listener.hears(database);
  } finally {
    if (!heard) await listener.close();
  }
  if (!heard) return null;
  listener.watch();
  return listener;
}
