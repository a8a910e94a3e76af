import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chown, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Program } from './program.ts';
import { freePort, serverUser } from './server.ts';

export interface PgBouncerOptions {
  /** The server behind it. */
  host: string;
  port: number;
  /** Who may log in, without a password. */
  users: string[];
}

/** A PgBouncer in transaction mode. */
export interface PgBouncer {
  port: number;
  /** The same database and role, through it. */
  through(url: string): string;
  stop(): Promise<void>;
}

/**
 * Starts one with three connections to the server, given to the transactions in turn: two statements of one client
 * hardly ever meet the same session.
 */
export async function startPgBouncer(
  program: Program,
  { host, port, users }: PgBouncerOptions,
): Promise<PgBouncer> {
  const user = await serverUser();
  const directory = await mkdtemp(join(tmpdir(), 'pgembedder-pgbouncer-'));
  const own = await freePort();
  const files = {
    'users.txt': users.map((name) => `"${name}" ""\n`).join(''),
    'pgbouncer.ini': `[databases]
* = host=${host} port=${port}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = ${own}
unix_socket_dir =
auth_type = trust
auth_file = ${join(directory, 'users.txt')}
pool_mode = transaction
default_pool_size = 3
server_round_robin = 1
`,
  };
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory, name), text);
  if (user) {
    await chown(directory, user.uid, user.gid);
    for (const name of Object.keys(files)) await chown(join(directory, name), user.uid, user.gid);
  }
  const child = spawn(program.path, [join(directory, 'pgbouncer.ini')], {
    ...user,
    cwd: directory,
    env: { ...process.env, ...program.env },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = once(child, 'exit');
  const said: string[] = [];
  const up = new Promise<void>((resolve) => {
    createInterface({ input: child.stderr }).on('line', (line) => {
      said.push(line);
      if (line.includes('process up')) resolve();
    });
  });
  const failed = exited.then(() => {
    throw new Error(`PgBouncer did not start: ${said.join('\n')}`);
  });
  failed.catch(() => {});
  await Promise.race([up, failed]);
  return {
    port: own,
    through(url) {
      const target = new URL(url);
      target.host = `127.0.0.1:${own}`;
      return target.href;
    },
    async stop() {
      child.kill('SIGINT');
      await exited;
      await rm(directory, { recursive: true });
    },
  };
}
