import { execFile, spawn } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { appendFile, chown, mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { messageOf } from '../../src/errors.ts';
import { requireServerBinaries, type ServerBinaries } from './server-binaries.ts';

const run = promisify(execFile);

/** Another process may take the free port between the look and the start. */
const START_ATTEMPTS = 3;

export interface ServerOptions {
  /** Settings for postgresql.conf, over the tests' own. */
  settings?: Record<string, string>;
  /** Lines of pg_hba.conf for TCP (default: trust); the socket is always open. */
  authentication?: string;
  /** A server that this one streams from, as a hot standby. */
  standbyOf?: TestServer;
}

/** A PostgreSQL server of the tests: own data folder, own port, trust authentication. */
export interface TestServer {
  /** Superuser connection to the database `postgres`, over TCP; it stays the same over restarts. */
  url: string;
  /** Folder of the unix socket, for `host=`. */
  socketDirectory: string;
  port: number;
  logFile: string;
  binaries: ServerBinaries;
  /** Stops (fast: clients are cut off cleanly; immediate: as after a crash, with recovery) and starts again. */
  restart(mode: StopMode): Promise<void>;
  /** Stops without starting again: what a client sees while the server is away. {@link start} brings it back. */
  halt(mode: StopMode): Promise<void>;
  start(): Promise<void>;
  /** Stops for good and removes the folder. */
  stop(): Promise<void>;
}

export type StopMode = 'fast' | 'immediate';

/**
 * Starts a server in a new temporary folder. A guard process stops it and removes the folder when this process
 * ends without having done so, in whatever way it ends: Ctrl-C, kill -9, a crash.
 */
export async function startServer(options: ServerOptions = {}): Promise<TestServer> {
  const binaries = await requireServerBinaries();
  const user = await serverUser();
  const directory = await mkdtemp(join(tmpdir(), 'pgembedder-test-'));
  const socketDirectory = join(directory, 'socket');
  const data = join(directory, 'data');
  const logFile = join(directory, 'log');
  await mkdir(socketDirectory);
  if (user) for (const path of [directory, socketDirectory]) await chown(path, user.uid, user.gid);

  const program = (name: string) => join(binaries.directory, name);
  const spawnOptions = {
    ...user,
    cwd: directory,
    env: { ...process.env, PGUSER: undefined, LC_ALL: 'C.UTF-8' },
  };
  const control = (...args: string[]) =>
    run(program('pg_ctl'), ['-s', '-w', '-t', '60', '-D', data, '-l', logFile, ...args], spawnOptions);

  const initArguments = [
    '-D',
    data,
    '-U',
    'postgres',
    '-A',
    'trust',
    '-E',
    'UTF8',
    '--locale=C.UTF-8',
    '--no-sync',
  ];
  const { standbyOf } = options;
  if (standbyOf) {
    const source = `host=${standbyOf.socketDirectory} port=${standbyOf.port} user=postgres`;
    await run(
      program('pg_basebackup'),
      ['-D', data, '-d', source, '-R', '-X', 'stream', '-c', 'fast', '--no-sync'],
      spawnOptions,
    );
  } else {
    await run(program('initdb'), initArguments, spawnOptions);
  }

  const guard = spawn('sh', ['-c', GUARD_SCRIPT, 'guard', program('pg_ctl'), data, directory], {
    ...spawnOptions,
    cwd: '/',
    detached: true, // not in the terminal's group: Ctrl-C must not end the guard before its work
    stdio: ['pipe', 'ignore', 'ignore'],
  });
  guard.unref();
  const guardGone = new Promise<void>((resolve) => guard.once('exit', () => resolve()));

  if (options.authentication)
    await writeFile(join(data, 'pg_hba.conf'), `local all all trust\n${options.authentication}\n`);
  const configuration = join(data, 'postgresql.conf');
  let port = 0;
  for (let attempt = 1; ; attempt++) {
    port = await freePort();
    await appendFile(
      configuration,
      settingsText({
        ...testSettings(binaries),
        ...options.settings,
        port: `${port}`,
        unix_socket_directories: socketDirectory,
      }),
    );
    try {
      await control('start');
      break;
    } catch (error) {
      if (attempt < START_ATTEMPTS) continue;
      const log = await readFile(logFile, 'utf8').catch(() => '');
      guard.stdin?.end();
      throw new Error(`PostgreSQL did not start: ${messageOf(error)}\n${log}`);
    }
  }

  const halt = async (mode: StopMode) => void (await control('-m', mode, 'stop'));
  const start = async () => void (await control('start'));
  return {
    url: `postgres://postgres@127.0.0.1:${port}/postgres`,
    socketDirectory,
    port,
    logFile,
    binaries,
    halt,
    start,
    async restart(mode) {
      await halt(mode);
      await start();
    },
    async stop() {
      guard.ref(); // what is left of this process may be only the wait for the guard
      guard.stdin?.end();
      await guardGone;
    },
  };
}

/** Waits for the end of its input, which comes when the process that started it ends; then clears up. */
const GUARD_SCRIPT = 'cat >/dev/null; "$1" -s -w -m immediate -D "$2" stop; rm -rf "$3"';

function testSettings(binaries: ServerBinaries): Record<string, string> {
  return {
    listen_addresses: '127.0.0.1',
    fsync: 'off',
    // Nothing is promised about power cuts here, but a committed row must be there after 'immediate'.
    synchronous_commit: 'on',
    full_page_writes: 'off',
    max_connections: '200',
    shared_buffers: '256MB',
    max_wal_size: '2GB',
    timezone: 'UTC',
    log_timezone: 'UTC',
    // With this set, `cron.schedule` works in the database postgres, and `cron.schedule_in_database` for others.
    ...(binaries.cron && {
      shared_preload_libraries: 'pg_cron',
      'cron.database_name': 'postgres',
      'cron.use_background_workers': 'on',
    }),
  };
}

function settingsText(settings: Record<string, string>): string {
  const lines = Object.entries(settings).map(([name, value]) => `${name} = '${value.replaceAll("'", "''")}'`);
  return `\n${lines.join('\n')}\n`;
}

/** PostgreSQL refuses to run as root: then its own user, or nobody, runs it. */
export async function serverUser(): Promise<{ uid: number; gid: number } | undefined> {
  if (process.getuid?.() !== 0) return undefined;
  const lines = (await readFile('/etc/passwd', 'utf8')).split('\n').map((line) => line.split(':'));
  const entry = lines.find(([name]) => name === 'postgres') ?? lines.find(([name]) => name === 'nobody');
  if (!entry) throw new Error('PostgreSQL cannot run as root, and there is no user postgres or nobody');
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}

/**
 * A port that nobody listens on, from below the range that outgoing connections take theirs from: a server that is
 * halted for a while must get its port back.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(20_000, 32_000);
    const free = await new Promise<boolean>((resolve) => {
      const probe = createServer();
      probe.once('error', () => resolve(false));
      probe.listen(port, '127.0.0.1', () => probe.close(() => resolve(true)));
    });
    if (free) return port;
  }
}
