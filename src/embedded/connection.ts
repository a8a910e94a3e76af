import type { Socket } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Backend, Reply } from './backend.ts';
import { copyInResponse, isCopyFromClient } from './copy-in.ts';
import { FrontendReader } from './frontend-reader.ts';
import { Subscriptions } from './notifications.ts';
import { PreparedStatements } from './prepared-statements.ts';
import { encodeError, encodeQuery, STARTUP_CODE, startupParameters, sync, typeOf } from './protocol.ts';

/** How long a client has to read why its connection ends. */
const FAREWELL_MS = 1_000;

export interface ConnectionOptions {
  id: number;
  /** Milliseconds that it may keep the backend without a word while others wait. */
  idleLimit: number;
  /** Called with NotificationResponses for whoever listens. */
  onNotifications(notifications: Buffer[]): void;
}

/**
 * One client of the embedded Postgres.
 *
 * States: *starting* until its StartupMessage is answered; then *idle*, without the backend; *waiting* in the queue
 * for it, from the first message of a statement on; *holding* it, until ReadyForQuery says that no transaction is
 * open, so that no other connection's messages come between Parse and Sync or BEGIN and COMMIT; then idle again.
 * *Copying* is idle or holding, collecting the data of a COPY. When the client goes away, what it had sent completely
 * is still run, its open transaction is rolled back, and the backend is given to the next.
 */
export class Connection {
  readonly #socket: Socket;
  readonly #backend: Backend;
  readonly #options: ConnectionOptions;
  readonly #reader = new FrontendReader();
  readonly #statements: PreparedStatements;
  readonly #subscriptions = new Subscriptions();
  #started = false;
  #holding = false;
  #copying = false;
  #gone = false;
  /** Messages up to the one that makes the backend answer. */
  #group: Buffer[] = [];
  #pumping: Promise<void> | undefined;
  #idleTimer: NodeJS.Timeout | undefined;

  constructor(socket: Socket, backend: Backend, options: ConnectionOptions) {
    this.#socket = socket;
    this.#backend = backend;
    this.#options = options;
    this.#statements = new PreparedStatements(options.id);
    socket.on('data', (chunk: Buffer) => {
      this.#reader.push(chunk);
      this.#wake();
    });
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => {
      this.#gone = true;
      this.#wake();
    });
  }

  /** Passes on what this connection listens for; between its own answers, never inside one. */
  deliver(notifications: Buffer[]): void {
    for (const notification of notifications) {
      if (this.#subscriptions.wants(notification)) this.#send(notification);
    }
  }

  /** Ends the connection as a server that shuts down does; resolves when the backend is free of it. */
  async shutDown(): Promise<void> {
    this.#end('57P01', 'terminating connection: the embedded Postgres shuts down');
    await this.#pumping;
  }

  #wake(): void {
    this.#pumping ??= this.#pump()
      .catch((error: unknown) => {
        this.#end('08P01', `protocol violation: ${error instanceof Error ? error.message : String(error)}`);
      })
      .finally(() => {
        this.#pumping = undefined;
      });
  }

  async #pump(): Promise<void> {
    clearTimeout(this.#idleTimer);
    while (!this.#started) {
      if (this.#gone || !this.#startUp()) return;
    }
    try {
      for (let message = this.#reader.next(); message; message = this.#reader.next())
        await this.#take(message);
    } finally {
      if (this.#gone) await this.#leave();
      else if (this.#holding) this.#watchIdling();
    }
  }

  /** Answers one message of the start-up phase; false when none is complete. */
  #startUp(): boolean {
    const message = this.#reader.nextStartup();
    if (!message) return false;
    const code = message.readInt32BE(4);
    if (code === STARTUP_CODE.ssl || code === STARTUP_CODE.gss) {
      this.#send(Buffer.from('N')); // no encryption here; the client goes on without
    } else if (code >> 16 === STARTUP_CODE.protocol3) {
      const database = startupParameters(message).get('database');
      if (database !== 'postgres') {
        this.#end(
          '3D000',
          `database "${database}" does not exist`,
          'The embedded Postgres has one, "postgres".',
        );
        return false;
      }
      this.#started = true;
      this.#send(this.#backend.greeting);
    } else {
      // A CancelRequest comes too late whenever it is read: the backend runs a statement in one go.
      this.#socket.end();
      return false;
    }
    return true;
  }

  async #take(message: Buffer): Promise<void> {
    const type = typeOf(message);
    if (type === 'X') {
      this.#socket.end();
      return;
    }
    if (this.#copying && !'cdf'.includes(type)) return; // as PostgreSQL: Flush and Sync mean nothing during a COPY
    if (type === 'Q' && isCopyFromClient(message)) {
      this.#copying = true;
      this.#send(copyInResponse(message));
    }
    this.#group.push(this.#statements.rename(this.#subscriptions.observe(message)));
    if (this.#copying ? !'cf'.includes(type) : !'QSHF'.includes(type)) return;
    await this.#runGroup();
  }

  async #runGroup(): Promise<void> {
    const group = this.#group;
    this.#group = [];
    if (!this.#holding) await this.#backend.acquire();
    this.#holding = true;
    const reply = await this.#execute(group);
    const messages = this.#copying
      ? reply.messages.filter((answer) => typeOf(answer) !== 'G')
      : reply.messages;
    this.#copying = false;
    this.#send(Buffer.concat(messages));
    if (reply.status === 'I') this.#release();
    // Nothing above has read from the sockets: now the messages of other connections can come in.
    await nextTurn();
  }

  async #execute(messages: Buffer[]): Promise<Reply> {
    const reply = await this.#backend.execute(messages);
    if (reply.notifications.length > 0) this.#options.onNotifications(reply.notifications);
    return reply;
  }

  #release(): void {
    this.#holding = false;
    this.#backend.release();
  }

  /** Removes what the client has left in the backend: its transaction and its prepared statements. */
  async #leave(): Promise<void> {
    const closing = this.#statements.closeAll();
    if (!this.#holding && closing.length === 0) return;
    if (this.#holding) {
      // The first rollback also ends what a Sync would commit. After an error the backend skips it, up to the Sync.
      const { status } = await this.#execute([encodeQuery('rollback'), sync]);
      if (status !== 'I') await this.#execute([encodeQuery('rollback')]);
    } else {
      await this.#backend.acquire();
      this.#holding = true;
    }
    if (closing.length > 0) await this.#execute([...closing, sync]);
    this.#release();
  }

  /** An idle transaction holds up everyone, and for ever if its client waits for another connection's answer. */
  #watchIdling(): void {
    this.#idleTimer = setTimeout(() => {
      if (!this.#backend.contested) return this.#watchIdling();
      this.#end(
        '25P03',
        'a transaction idled while other connections waited, and the embedded Postgres has one backend for all',
        'End it sooner, or use a PostgreSQL server.',
      );
    }, this.#options.idleLimit);
    this.#idleTimer.unref();
  }

  #end(code: string, message: string, hint?: string): void {
    if (!this.#socket.writable) return;
    this.#socket.end(encodeError('FATAL', code, message, hint), () => this.#socket.destroy());
    // A client that does not read keeps nobody waiting.
    setTimeout(() => this.#socket.destroy(), FAREWELL_MS).unref();
  }

  #send(bytes: Buffer): void {
    if (bytes.length > 0 && this.#socket.writable) this.#socket.write(bytes);
  }
}
