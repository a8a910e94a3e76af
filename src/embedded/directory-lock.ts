import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { link, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { connect, createServer, type Server, type Socket } from 'node:net';

/**
 * An exclusive lock on the current directory, which ends with the process that holds it, however that ends.
 *
 * Each process that wants it listens on a unix socket of its own. A process that accepts connections there is alive: that
 * is certain, other than with a process id, which may be used again, or with a file, which kill -9 leaves behind. The lock is the file
 * `lock.N` with the highest N, naming its holder's socket. Only a dead holder's lock is taken over, by
 * making `lock.N+1`, which the file system lets only one process do. A process that then finds a higher number was too slow,
 * and gives its own back. Only lock files with lower numbers are ever removed, so numbers only rise.
 *
 * A connection to the holder's socket brings one line when what it guards is ready, and ends when the holder does.
 */
export interface DirectoryLock {
  /** Tells those who wait for the holder what they need to know, such as where it listens. */
  announce(message: string): void;
}

/** Another process has the directory: what that one has announced. */
export interface HeldElsewhere {
  announcement: string;
}

const LOCK_FILE = /^lock\.(\d+)$/;

/** Takes the lock, or waits until its holder has announced itself. Works in the current directory. */
export async function lockDirectory(): Promise<DirectoryLock | HeldElsewhere> {
  const socketName = `alive-${process.pid}-${randomBytes(4).toString('hex')}.sock`;
  const listener = await Listener.start(socketName);
  for (;;) {
    const highest = await highestLock();
    if (highest > 0) {
      const announcement = await askHolder(await readLock(highest));
      if (announcement !== undefined) {
        await listener.stop();
        return { announcement };
      }
    }
    if (await take(highest + 1, socketName)) return listener;
  }
}

/** Makes the lock file, complete at once; false when another process was faster. */
async function take(number: number, socketName: string): Promise<boolean> {
  const draft = `draft-${socketName}`;
  await writeFile(draft, socketName);
  try {
    await link(draft, `lock.${number}`);
  } catch (error) {
    if (isCode(error, 'EEXIST')) return false;
    throw error;
  } finally {
    await rm(draft, { force: true });
  }
  if ((await highestLock()) !== number) {
    await rm(`lock.${number}`, { force: true });
    return false;
  }
  for (const name of await readdir('.')) {
    const lower = Number(LOCK_FILE.exec(name)?.[1] ?? Number.NaN);
    if (lower < number) await rm(name, { force: true });
  }
  return true;
}

async function highestLock(): Promise<number> {
  const numbers = (await readdir('.')).map((name) => Number(LOCK_FILE.exec(name)?.[1] ?? 0));
  return Math.max(0, ...numbers);
}

async function readLock(number: number): Promise<string | undefined> {
  try {
    return await readFile(`lock.${number}`, 'utf8');
  } catch (error) {
    if (isCode(error, 'ENOENT')) return undefined; // overtaken and swept away since
    throw error;
  }
}

/** What the holder announces, or undefined when it is dead, or dies before it has announced anything. */
async function askHolder(socketName: string | undefined): Promise<string | undefined> {
  if (!socketName) return undefined;
  const socket = connect(socketName);
  try {
    await once(socket, 'connect');
  } catch (error) {
    if (!isCode(error, 'ECONNREFUSED') && !isCode(error, 'ENOENT')) throw error;
    await rm(socketName, { force: true }); // names are not used twice, so this one can have no new owner
    return undefined;
  }
  socket.setEncoding('utf8');
  let text = '';
  try {
    for await (const chunk of socket) {
      text += chunk;
      if (text.endsWith('\n')) return text.trimEnd();
    }
  } catch {
    // It died while we waited.
  }
  return undefined;
}

class Listener implements DirectoryLock {
  readonly #server: Server;
  readonly #asking = new Set<Socket>();
  #announcement: string | undefined;

  private constructor() {
    this.#server = createServer((socket) => {
      socket.on('error', () => {});
      if (this.#announcement !== undefined) return void socket.end(this.#announcement);
      this.#asking.add(socket);
      socket.once('close', () => this.#asking.delete(socket));
    });
  }

  static async start(path: string): Promise<Listener> {
    const listener = new Listener();
    listener.#server.listen(path);
    await once(listener.#server, 'listening');
    return listener;
  }

  announce(message: string): void {
    this.#announcement = `${message}\n`;
    for (const socket of this.#asking) socket.end(this.#announcement);
  }

  async stop(): Promise<void> {
    // Processes that took this one for the holder, because of its late lock file, have to look again.
    for (const socket of this.#asking) socket.destroy();
    this.#server.close();
    await once(this.#server, 'close');
  }
}

function isCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
