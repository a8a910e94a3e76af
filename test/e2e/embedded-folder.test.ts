import { spawn } from 'node:child_process';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Cli, run } from './cli.ts';

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'pgembedder-folder-'));
  await writeFile(join(folder, 'file'), '');
});
afterAll(() => rm(folder, { recursive: true, force: true }));

describe('a folder that the embedded Postgres cannot use', () => {
  it.each([
    ['a file', () => join(folder, 'file'), 'a file lies there'],
    ['below a file', () => join(folder, 'file', 'x'), 'a file lies there'],
    ['below /proc, where none can be made', () => '/proc/pgembedder/x', 'no folder can be made there'],
  ])('%s: one line, and an end', async (_, path, reason) => {
    const { code, stderr } = await run(['status', `--embedded=${path()}`]);
    expect(code).toBe(1);
    expect(stderr.trim().split('\n').at(-1)).toBe(
      `pgembedder: the embedded Postgres cannot use the folder ${path()}: ${reason}. Name another one: --embedded=DIR`,
    );
  });
});

describe('two demos on one folder', () => {
  it('when the first is stopped, the second goes on by itself', async () => {
    const args = ['demo', '--rows', '800', 'the power to do work', `--embedded=${join(folder, 'demo')}`];
    const first = new Cli(args);
    await first.said('glosses of WordNet');
    const second = new Cli(args);
    await second.said('Waiting for rows that a run before this one, or another worker, has in hand');
    first.kill('SIGINT');
    expect((await first.result()).code).toBe(0);
    const { code, stdout, stderr } = await second.result();
    expect({ code, answers: stdout.trim().split('\n').length }).toEqual({ code: 0, answers: 5 });
    expect(stderr).toContain(
      'The command that ran the embedded Postgres has ended; this one goes on by itself.',
    );
    expect(stderr).toContain('over 800 glosses');
    expect(stderr).not.toContain('    at ');
  }, 180_000);
});

describe('the process of the embedded Postgres', () => {
  it('ends when its parent is killed, even in the middle of a statement', async () => {
    const program = join(folder, 'parent.mjs');
    const built = new URL('../../dist/embedded/start-embedded.js', import.meta.url).href;
    await writeFile(
      program,
      `import { startEmbedded } from '${built}';
       const { connection } = await startEmbedded(process.argv[2], { logger: { info() {}, warn() {}, error() {} } });
       console.log(JSON.stringify(connection));
       setInterval(() => {}, 1000);`,
    );
    const parent = spawn(process.execPath, [program, join(folder, 'killed')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const connection = await new Promise<pg.ClientConfig>((resolve) =>
      parent.stdout.once('data', (line) => resolve(JSON.parse(String(line)))),
    );
    const client = new pg.Client(connection);
    const ended = new Promise((resolve) => client.on('error', resolve));
    await client.connect();
    const statement = client.query('do $$ begin loop end loop; end $$').catch(() => {});
    // Until the statement is on its way.
    await wait(100);
    parent.kill('SIGKILL');
    await Promise.all([statement, ended]);
  });
});
