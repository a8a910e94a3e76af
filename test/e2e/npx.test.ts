import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.ts';
import { createMigratedDatabase } from '../support/pgembedder.ts';

it('a worker that npx has started stops when npx has gone, and the shell between them', async () => {
  const database = await createMigratedDatabase();
  // As npm does it: a shell that waits, and hands no signal on.
  const shell = spawn(
    'sh',
    ['-c', `"$0" "$1" work; true`, process.execPath, join(packageRoot, 'dist/cli/main.js')],
    {
      env: { ...process.env, DATABASE_URL: database.url, PGEMBEDDER_HTTP: 'off', npm_command: 'exec' },
      stdio: ['ignore', 'ignore', 'pipe'],
    },
  );
  let log = '';
  const started = new Promise<void>((resolve) => {
    shell.stderr.setEncoding('utf8').on('data', (text: string) => {
      log += text;
      if (log.includes('worker started')) resolve();
    });
  });
  const closed = once(shell, 'close');
  await Promise.race([started, closed]);
  shell.kill('SIGKILL');
  // Comes when nobody holds its stderr any more, the worker included.
  await closed;
  expect(log).toContain('worker stopped');
  await database.drop();
});
