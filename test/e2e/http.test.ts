import { once } from 'node:events';
import { type AddressInfo, createServer } from 'node:net';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pollUntil } from '../support/poll-until.ts';
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
  return { worker, url: urlOf(worker) };
}

/** The URL that a command has said it serves at. */
function urlOf({ stderr }: Cli): string {
  const line = stderr.split('\n').find((text) => text.includes('serving health and metrics'))!;
  return (JSON.parse(line) as { url: string }).url;
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

describe('serve', () => {
  it('runs models without a database, until it is stopped', async () => {
    const server = new Cli(['serve', '--device', 'cpu'], { env: { PGEMBEDDER_HTTP: '127.0.0.1:0' } });
    await server.said('serving health and metrics');
    const url = urlOf(server);
    await pollUntil(async () => ((await fetch(`${url}/readyz`)).ok ? true : undefined), {
      what: 'ready',
      every: 50,
    });
    const response = await fetch(`${url}/v1/embeddings`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input: 'a small cat' }),
    });
    expect(await response.json()).toMatchObject({ data: [{ embedding: { length: 384 } }] });
    server.kill('SIGTERM');
    expect((await server.result()).code).toBe(0);
  });

  it('says in one line that there is nothing to do where HTTP is off', async () => {
    const { code, stderr } = await run(['serve'], { env: { PGEMBEDDER_HTTP: 'off' } });
    expect(code).toBe(2);
    expect(stderr).toBe(
      'pgembedder: PGEMBEDDER_HTTP is off, and there is nothing else to do. Set it to an address such as 127.0.0.1:8089, or leave it out\n',
    );
  });
});

describe('a worker runs models for HTTP requests', () => {
  const status = async (url: string) =>
    (
      await fetch(`${url}/v1/embeddings`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ input: 'a small cat' }),
      })
    ).status;

  it.each([
    ['on a loopback address', {}, 200],
    ['not where strangers may ask', { PGEMBEDDER_HTTP: '0.0.0.0:0', PGEMBEDDER_HTTP_OPEN: 'true' }, 404],
    [
      'where strangers may ask and it is set',
      { PGEMBEDDER_HTTP: '0.0.0.0:0', PGEMBEDDER_HTTP_OPEN: 'true', PGEMBEDDER_HTTP_API: 'true' },
      200,
    ],
    ['not where it is switched off', { PGEMBEDDER_HTTP_API: 'false' }, 404],
    ['not without a token where one is set', { PGEMBEDDER_HTTP_TOKENS: 'infer:secret-2' }, 401],
  ])('%s', async (_, more, wanted) => {
    const { worker, url } = await serving(more);
    expect(await status(url)).toBe(wanted);
    worker.kill('SIGTERM');
    expect((await worker.result()).code).toBe(0);
    expect(worker.stderr).not.toContain('secret-2');
  });
});
