import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { createServer } from 'node:net';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.ts';
import { pollUntil } from '../support/poll-until.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';

const execute = promisify(execFile);
let database: TestDatabase;

beforeAll(async () => {
  database = await createDatabase();
});
afterAll(async () => {
  await database.query('drop owned by support_app cascade; drop role support_app');
  await database.drop();
});

it('mail: labels and parts of messages, and how well the labels tell spam', async () => {
  const run = () =>
    execute(process.execPath, ['examples/mail/run.mjs', '40'], {
      cwd: packageRoot,
      env: { ...process.env, DATABASE_URL: database.url },
    });
  const { stdout, stderr } = await run();
  expect(stderr).toBe('');
  expect(stdout).toMatch(/^40 messages stored\n80 results in \d+ s, 0 rows with errors/);
  expect(stdout).toMatch(/│ 40 +│ [01]\.?\d* +│ [01]\.?\d* +│/);
  expect(stdout).toMatch(/how do I install a printer\?\n {2}0\.\d\d {2}\S+\/\d+ {2}\S/);
  expect((await run()).stdout).toContain('0 results');
});

it('support tickets: each tenant finds its own', async () => {
  const [port, http] = await Promise.all([freePort(), freePort()]);
  const app = spawn(process.execPath, ['--import', 'tsx', 'examples/support-tickets/main.ts'], {
    cwd: packageRoot,
    env: {
      ...process.env,
      DATABASE_URL: database.url,
      PORT: String(port),
      PGEMBEDDER_HTTP: `127.0.0.1:${http}`,
    },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  try {
    await pollUntil(async () => (await fetch(`http://127.0.0.1:${http}/readyz`).catch(() => null))?.ok);
    const as = async (key: string, path: string, body?: object) => {
      const response = await fetch(`http://127.0.0.1:${port}${path}`, {
        headers: { 'x-api-key': key, 'content-type': 'application/json' },
        ...(body && { method: 'POST', body: JSON.stringify(body) }),
      });
      return response.json() as Promise<{ title: string; kind: string | null }[]>;
    };
    await as('key-of-the-bakery', '/tickets', {
      title: 'Charged twice',
      body: 'The invoice was charged two times to my card.',
    });
    await as('key-of-the-bicycle-shop', '/tickets', { title: 'Refund', body: 'I want my money back.' });
    await pollUntil(async () => (await as('key-of-the-bakery', '/tickets'))[0]?.kind);
    await pollUntil(async () => (await as('key-of-the-bicycle-shop', '/search?q=money')).length > 0);
    expect(await as('key-of-the-bakery', '/search?q=I+paid+too+much')).toMatchObject([
      { title: 'Charged twice', kind: 'a bill, a payment or a refund' },
    ]);
    expect(await as('key-of-the-bicycle-shop', '/search?q=I+paid+too+much')).toMatchObject([
      { title: 'Refund' },
    ]);
    expect(await as('', '/tickets')).toEqual({ error: 'Send your key in the header X-Api-Key' });
  } finally {
    app.kill('SIGTERM');
    await once(app, 'exit');
  }
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}
