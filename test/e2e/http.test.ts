import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { Cli, run } from './cli.ts';

let database: TestDatabase;
let env: Record<string, string>;

beforeAll(async () => {
  database = await createDatabase();
  env = { DATABASE_URL: database.url };
  await run(['migrate'], { env });
});
afterAll(() => database.drop());

/** A worker that serves on a free port, and its URL. */
async function serving(more: Record<string, string> = {}): Promise<{ worker: Cli; url: string }> {
  const worker = new Cli(['work'], { env: { ...env, PGEMBEDDER_HTTP: '127.0.0.1:0', ...more } });
  await worker.said('worker started');
  const line = worker.stderr.split('\n').find((text) => text.includes('serving health and metrics'))!;
  return { worker, url: (JSON.parse(line) as { url: string }).url };
}

describe('work', () => {
  it('serves health and metrics until it has stopped', async () => {
    const { worker, url } = await serving();
    expect(await (await fetch(`${url}/healthz`)).json()).toEqual({ alive: true, worker: 'working' });
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect(await (await fetch(`${url}/metrics`)).text()).toContain('pgembedder_build_info{');
    worker.kill('SIGTERM');
    expect((await worker.result()).code).toBe(0);
    await expect(fetch(`${url}/healthz`)).rejects.toThrow();
  });

  it('wants the token for metrics, where one is set', async () => {
    const { worker, url } = await serving({ PGEMBEDDER_HTTP_TOKEN: 'secret-1' });
    expect((await fetch(`${url}/readyz`)).status).toBe(200);
    expect((await fetch(`${url}/metrics`)).status).toBe(401);
    const headers = { authorization: 'Bearer secret-1' };
    expect((await fetch(`${url}/metrics`, { headers })).status).toBe(200);
    worker.kill('SIGTERM');
    expect((await worker.result()).code).toBe(0);
    expect(worker.stderr).not.toContain('secret-1');
  });

  it('refuses an address that others can reach without a token, in one line', async () => {
    const { code, stderr } = await run(['work'], { env: { ...env, PGEMBEDDER_HTTP: '0.0.0.0:0' } });
    expect(code).toBe(1);
    expect(stderr).toBe(
      'pgembedder: PGEMBEDDER_HTTP=0.0.0.0:0 is open to other machines, and no token is set. Set PGEMBEDDER_HTTP_TOKEN, or PGEMBEDDER_HTTP_OPEN=true where the network keeps strangers out\n',
    );
    const { worker, url } = await serving({ PGEMBEDDER_HTTP: '0.0.0.0:0', PGEMBEDDER_HTTP_OPEN: 'true' });
    expect((await fetch(`${url}/metrics`)).status).toBe(200);
    worker.kill('SIGTERM');
    expect((await worker.result()).code).toBe(0);
  });

  it('ends with one line where its address is in use', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = `127.0.0.1:${(other.address() as AddressInfo).port}`;
    const { code, stderr } = await run(['work'], { env: { ...env, PGEMBEDDER_HTTP: address } });
    other.close();
    expect(code).toBe(1);
    expect(stderr).toBe(
      `pgembedder: cannot serve HTTP on ${address}: another process listens there. Set PGEMBEDDER_HTTP to another address, or to off\n`,
    );
  });

  it('works without where the default address is in use, and where it is off', async () => {
    const workers = [1, 2].map(() => new Cli(['work'], { env }));
    const off = new Cli(['work'], { env: { ...env, PGEMBEDDER_HTTP: 'off' } });
    await Promise.all([...workers, off].map((worker) => worker.said('worker started')));
    for (const worker of [...workers, off]) worker.kill('SIGTERM');
    const results = await Promise.all([...workers, off].map((worker) => worker.result()));
    expect(results.map(({ code }) => code)).toEqual([0, 0, 0]);
    const without = workers.filter(({ stderr }) =>
      stderr.includes('another process listens there; working without'),
    );
    // Both, where this machine's own worker has the address.
    expect(without.length).toBeGreaterThan(0);
    expect(off.stderr).not.toMatch(/HTTP|serving/);
  });
});
