import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const program = fileURLToPath(new URL('../../dist/cli/main.js', import.meta.url));

/** Starts `pgembedder work` on a database, in a process of its own as users have it. */
export function startWorkCommand(url: string, environment: Record<string, string> = {}): ChildProcess {
  return spawn(process.execPath, [program, 'work'], {
    env: { ...process.env, DATABASE_URL: url, ...environment },
    stdio: ['ignore', 'ignore', 'ignore'],
  });
}

export async function stopWorkCommand(worker: ChildProcess): Promise<void> {
  worker.kill('SIGTERM');
  await once(worker, 'exit');
}
