/**
 * The process of the embedded Postgres: `server-process.js DIRECTORY PARENT`, started by start-embedded.ts. PGlite runs a
 * statement without letting go of its thread, so it has a process to itself.
 */
import { createHash } from 'node:crypto';
import { mkdir, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { PGlite } from '@electric-sql/pglite';
import { vector } from '@electric-sql/pglite-pgvector';
import { messageOf, UserError } from '../errors.ts';
import {
  DATA_FOLDER,
  dataVersion,
  isInitialized,
  markInitialized,
  putAsideIncomplete,
} from './data-folder.ts';
import { lockDirectory } from './directory-lock.ts';
import { explainFolder, makeFolder } from './folder.ts';
import { type ServerOrder, type ServerReport, SOCKET_NAME } from './server-messages.ts';
import { SocketServer } from './socket-server.ts';

/**
 * Endless recursion (a trigger that fires itself) has to be an ordinary error. PostgreSQL counts its own stack and
 * not V8's, which overflows first at its limit of 2 MB, or in some statements even at 500 kB: so this, and a larger
 * stack for V8 (start-embedded.ts).
 */
const START_PARAMETERS = [...PGlite.defaultStartParams, '-c', 'max_stack_depth=500kB'];

// Ctrl-C goes to every process of the terminal's group, and a closed terminal to all of its own; the parent decides.
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) process.on(signal, () => {});

new Worker(new URL('watchdog.js', import.meta.url), {
  workerData: { parent: Number(process.argv[3]) },
}).unref();

let server: SocketServer | undefined;
let socketDirectory: string;
let stopping = false;

process.on('message', (order: ServerOrder) => {
  if (order.type === 'stop') void stop();
});
process.on('disconnect', () => void stop());

try {
  await serve(process.argv[2]!);
} catch (thrown) {
  const error = explainFolder(thrown, process.argv[2]!);
  const hint = error instanceof UserError ? error.hint : undefined;
  report({ type: 'failed', message: messageOf(error), ...(hint && { hint }) }, () => process.exit(1));
}

async function serve(directory: string): Promise<void> {
  const start = performance.now();
  await makeFolder(directory);
  // From here on all paths are relative: a unix socket's path must be short, and a user's directory may not be.
  process.chdir(directory);
  const lock = await lockDirectory();
  if ('announcement' in lock) {
    report({ type: 'served elsewhere', socketDirectory: lock.announcement }, () => process.exit(0));
    return;
  }
  const folder = await putAsideIncomplete();
  if (folder) report({ type: 'put aside', folder });
  const initialized = isInitialized();
  const database = await openDatabase();
  if (!initialized) await markInitialized();

  socketDirectory = await makeSocketDirectory(process.cwd());
  server = await SocketServer.listen(database, join(socketDirectory, SOCKET_NAME), {
    onBroken: (reason) => report({ type: 'broken', reason }, () => process.exit(1)),
  });
  lock.announce(socketDirectory);
  report({
    type: 'serving',
    socketDirectory,
    initialized: !initialized,
    milliseconds: performance.now() - start,
  });
  if (stopping || !process.connected) await shutDown();
}

async function openDatabase(): Promise<PGlite> {
  try {
    return await PGlite.create(DATA_FOLDER, { extensions: { vector }, startParams: START_PARAMETERS });
  } catch (error) {
    const version = await dataVersion();
    throw new UserError(`The embedded Postgres could not open ${process.cwd()}: ${messageOf(error)}`, {
      hint: `Its data is of PostgreSQL ${version ?? 'no known version'}; move it away to begin again, or name another directory`,
    });
  }
}

/** A folder for the socket with a short path, the same for every process that serves this directory. */
async function makeSocketDirectory(directory: string): Promise<string> {
  const hash = createHash('sha256').update(directory).digest('hex').slice(0, 16);
  const folder = join(tmpdir(), `pgembedder-${hash}`);
  await mkdir(folder, { recursive: true, mode: 0o700 });
  // Anyone may make folders there: in the folder of another user, the socket would be open to that user.
  const { uid, mode } = await stat(folder);
  if (uid !== process.getuid?.() || (mode & 0o077) !== 0) {
    throw new UserError(`${folder} is open to other users`, {
      hint: 'Remove it, or set TMPDIR to a folder of your own',
    });
  }
  return folder;
}

async function stop(): Promise<void> {
  if (stopping) return;
  stopping = true;
  if (server) await shutDown(); // else serve() sees to it when the start is through
}

async function shutDown(): Promise<void> {
  await server!.close();
  await rm(socketDirectory, { recursive: true, force: true }); // while the lock is still ours
  process.exit(0);
}

function report(message: ServerReport, then = () => {}): void {
  if (process.connected) process.send?.(message, then);
  else then();
}
