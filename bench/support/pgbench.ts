import { execFile } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { TestServer } from '../../test/support/server.ts';

const run = promisify(execFile);

/** Transactions a second of one statement, prepared, over the server's socket, as this role. */
export async function pgbench(
  server: TestServer,
  database: string,
  statement: string,
  { user, clients, seconds }: { user: string; clients: number; seconds: number },
): Promise<number> {
  const folder = await mkdtemp(join(tmpdir(), 'pgembedder-bench-'));
  try {
    const script = join(folder, 'script.sql');
    await writeFile(script, `${statement}\n`);
    const { stdout } = await run(join(server.binaries.directory, 'pgbench'), [
      ...['-h', server.socketDirectory, '-p', `${server.port}`, '-U', user, '-n'],
      ...['-M', 'prepared', '-c', `${clients}`, '-j', '1', '-T', `${seconds}`, '-f', script, database],
    ]);
    // "tps = 1234.567890 (without initial connection time)"
    const tps = /^tps = ([\d.]+)/m.exec(stdout)?.[1];
    if (!tps || /number of failed transactions: [1-9]/.test(stdout))
      throw new Error(`pgbench said:\n${stdout}`);
    return Number(tps);
  } finally {
    await rm(folder, { recursive: true });
  }
}
