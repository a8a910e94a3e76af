import type { PGlite } from '@electric-sql/pglite';
import { messageOf } from '../errors.ts';
import { backendMessages, type TransactionStatus, typeOf } from './protocol.ts';

/** What one run of the backend brought. */
export interface Reply {
  /** Messages for the connection whose messages were run. */
  messages: Buffer[];
  /** NotificationResponses, for whoever listens. */
  notifications: Buffer[];
  /** What the last ReadyForQuery said; undefined without one (after a Flush). */
  status: TransactionStatus | undefined;
}

/** Messages that the backend must answer with ReadyForQuery: Query, Sync, and the end of a COPY's data. */
const ENDS_WITH_READY = 'QScf';

/** PGlite's one backend, and the queue of those who want it. */
export class Backend {
  readonly #database: PGlite;
  readonly #onBroken: (reason: string) => void;
  readonly #waiting: (() => void)[] = [];
  #taken = false;
  /** AuthenticationOk, the parameters and ReadyForQuery, as this backend greets. */
  readonly greeting: Buffer;

  private constructor(database: PGlite, onBroken: (reason: string) => void, greeting: Buffer) {
    this.#database = database;
    this.#onBroken = onBroken;
    this.greeting = greeting;
  }

  /**
   * Takes over a started PGlite: from now on nobody else may send to it.
   *
   * @param onBroken called when it has crashed inside: its memory is not to be trusted, and it must not go on
   */
  static async over(database: PGlite, onBroken: (reason: string) => void): Promise<Backend> {
    // Length, protocol 3.0, parameters: what every client sends. All of them get the answer to this one.
    const startup = Buffer.from('\0\0\0\0\0\x03\0\0user\0postgres\0database\0postgres\0\0', 'latin1');
    startup.writeInt32BE(startup.length, 0);
    return new Backend(database, onBroken, await run(database, startup));
  }

  /** Whether someone waits for the backend. */
  get contested(): boolean {
    return this.#waiting.length > 0;
  }

  /** Resolves when the backend is the caller's own, first come, first served; the caller must {@link release} it. */
  async acquire(): Promise<void> {
    if (!this.#taken) {
      this.#taken = true;
      return;
    }
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
  }

  release(): void {
    const next = this.#waiting.shift();
    if (next) next();
    else this.#taken = false;
  }

  /** Runs complete messages; only for who holds the backend. */
  async execute(messages: Buffer[]): Promise<Reply> {
    let output: Buffer;
    try {
      output = await run(this.#database, messages.length === 1 ? messages[0]! : Buffer.concat(messages));
    } catch (error) {
      this.#onBroken(messageOf(error));
      throw error;
    }
    const reply: Reply = { messages: [], notifications: [], status: undefined };
    for (const message of backendMessages(output)) {
      const type = typeOf(message);
      if (type === 'A') {
        reply.notifications.push(message);
        continue;
      }
      if (type === 'Z') reply.status = String.fromCharCode(message[5]!) as TransactionStatus;
      reply.messages.push(message);
    }
    // PGlite does not report a crash of its WASM code (a stack overflow, an invalid access): the answer has no end then.
    if (reply.status === undefined && ENDS_WITH_READY.includes(typeOf(messages.at(-1)!))) {
      this.#onBroken('a statement crashed inside it');
    }
    return reply;
  }

  /** Waits for whoever holds the backend, then closes the database for good. */
  async close(): Promise<void> {
    await this.acquire();
    await this.#database.close();
  }
}

/** Runs the messages in the backend; it is synchronous, so all of its answer is there when it returns. */
async function run(database: PGlite, message: Buffer): Promise<Buffer> {
  const chunks: Buffer[] = [];
  // The bytes are a window into the backend's memory, which its next write overwrites: copy them.
  await database.execProtocolRawStream(message, {
    onRawData: (bytes) => void chunks.push(Buffer.from(bytes)),
  });
  return Buffer.concat(chunks);
}
