import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { connect } from 'node:net';
import { join, resolve } from 'node:path';
import type { Logger } from 'pino';
import { UserError } from '../errors.ts';
import { packageRoot } from '../package-root.ts';
import { type ServerOrder, type ServerReport, SOCKET_NAME } from './server-messages.ts';

/** V8's stack in kB, well below the 8 MB that systems give a process, and above what PostgreSQL's limit lets it use. */
const STACK_KB = 3_900;

/** After this many milliseconds a server that was asked to stop is ended; what was committed is safe either way. */
const STOP_LIMIT_MS = 15_000;

/** An embedded Postgres that answers. */
export interface EmbeddedPostgres {
  /** Connection string for `pg` and for libpq. */
  url: string;
  /** The same for `new pg.Pool(...)`. */
  connection: { host: string; port: number; user: string; database: string };
  /** Whether this process started it. If not, another one did, and it ends with that one. */
  owner: boolean;
  /** Resolves when the server has ended, asked to or not, whichever process has started it. */
  ended: Promise<void>;
  /** Ends open connections, closes the database and waits for its process; nothing for a server of another process. */
  stop(): Promise<void>;
}

/**
 * Starts the embedded Postgres (PGlite with pgvector) on a directory, in a process of its own, or finds the one that
 * another process has started there. The directory is made when it is missing. For trying out: all connections take
 * turns at one backend, and share its session.
 *
 * The server ends with {@link EmbeddedPostgres.stop}, or with this process, however that ends; it does not keep this
 * process alive. Committed rows survive a kill -9 of either.
 *
 * @throws UserError when the directory cannot be used
 * @example
 * const embedded = await startEmbedded('.pgembedder', { logger });
 * const pool = new pg.Pool(embedded.connection);
 */
export async function startEmbedded(
  directory: string,
  options: { logger: Logger },
): Promise<EmbeddedPostgres> {
  const { logger } = options;
  requirePglite();
  const program = join(packageRoot, 'dist', 'embedded', 'server-process.js');
  if (!existsSync(program)) throw new Error(`${program} is missing: run npm run build`);
  const child = fork(program, [resolve(directory), String(process.pid)], {
    execArgv: [`--stack-size=${STACK_KB}`],
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const exited = once(child, 'exit');

  const report = await firstReport(child, logger);
  if (report.type === 'failed') throw new UserError(report.message, report.hint ? { hint: report.hint } : {});
  const owner = report.type === 'serving';
  if (report.type === 'serving') {
    const { initialized, milliseconds } = report;
    logger.info(
      { directory, initialized, milliseconds: Math.round(milliseconds) },
      'embedded Postgres started',
    );
  } else {
    logger.info({ directory }, 'embedded Postgres of another process found');
  }
  let stopping = false;
  const ended = exited.then(([code, signal]) => {
    if (owner && !stopping) logger.error({ directory, code, signal }, 'embedded Postgres ended unasked');
  });
  child.unref();
  child.channel?.unref();

  const host = report.socketDirectory;
  return {
    url: `postgresql://postgres@${encodeURIComponent(host)}:5432/postgres`,
    connection: { host, port: 5432, user: 'postgres', database: 'postgres' },
    owner,
    ended: owner ? ended : endOf(join(host, SOCKET_NAME)),
    async stop() {
      stopping = true;
      if (!owner) return;
      await stopChild(child, ended);
    },
  };
}

/** Resolves when the server of another process has ended: then it closes this connection, which sends nothing. */
function endOf(path: string): Promise<void> {
  return new Promise((resolve) => {
    const socket = connect(path).unref();
    // The end of the stream is seen only when all before it is read.
    socket.on('error', () => {}).resume();
    socket.once('close', () => resolve());
  });
}

/** @throws UserError where PGlite was left out: the images for containers have none */
function requirePglite(): void {
  try {
    createRequire(import.meta.url).resolve('@electric-sql/pglite');
  } catch (cause) {
    throw new UserError('the embedded Postgres is not in this installation', {
      hint: 'Set DATABASE_URL to a PostgreSQL, or install pgembedder with npm',
      cause,
    });
  }
}

async function stopChild(child: ChildProcess, ended: Promise<void>): Promise<void> {
  child.ref();
  const order: ServerOrder = { type: 'stop' };
  if (child.connected) child.send(order);
  const limit = setTimeout(() => child.kill('SIGKILL'), STOP_LIMIT_MS);
  await ended;
  clearTimeout(limit);
}

type FinalReport = Exclude<ServerReport, { type: 'put aside' | 'broken' }>;

function firstReport(child: ChildProcess, logger: Logger): Promise<FinalReport> {
  return new Promise((resolve, reject) => {
    child.on('message', (report: ServerReport) => {
      if (report.type === 'put aside') {
        logger.warn({ folder: report.folder }, 'embedded Postgres: put an incomplete data folder aside');
      } else if (report.type === 'broken') {
        logger.error(
          { reason: report.reason },
          'embedded Postgres crashed; committed rows are there at the next start',
        );
      } else resolve(report);
    });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      reject(new Error(`the embedded Postgres ended while it started (${signal ?? `code ${code}`})`));
    });
  });
}
