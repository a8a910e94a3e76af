import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { type AddressInfo, createServer } from 'node:net';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { SCOPES } from '../../../src/config.ts';
import { Tokens } from '../../../src/http/access/tokens.ts';
import { createApp } from '../../../src/http/app.ts';
import { startHttpServer } from '../../../src/http/server.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  silent,
  workerOn,
} from '../../support/pgembedder.ts';
import { serveWorker } from './support.ts';

/** One token for everything. */
const OPEN_SESAME = [{ token: 'open-sesame', scopes: SCOPES }];

let database: MigratedDatabase;
let worker: Worker;
beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(() => {
  worker = workerOn(database);
});
afterEach(() => worker.stop());

describe('a token', () => {
  it('is asked for by /metrics and not by health', async () => {
    const http = await serveWorker(worker, database.url, { tokens: OPEN_SESAME });
    try {
      const statuses = async (headers: Record<string, string>) =>
        Promise.all(
          ['/healthz', '/readyz', '/metrics', '/nothing'].map(
            async (path) => (await http.get(path, headers)).status,
          ),
        );
      expect(await statuses({})).toEqual([200, 503, 401, 401]);
      expect(await statuses({ authorization: 'Bearer open' })).toEqual([200, 503, 401, 401]);
      expect(await statuses({ authorization: 'open-sesame' })).toEqual([200, 503, 401, 401]);
    } finally {
      await http.close();
    }
  });

  it('that is right opens /metrics', async () => {
    const http = await serveWorker(worker, database.url, { tokens: OPEN_SESAME });
    try {
      const response = await http.get('/metrics', { authorization: 'Bearer open-sesame' });
      expect(response.status).toBe(200);
      expect(response.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
    } finally {
      await http.close();
    }
  });

  it('is not needed where none is set', async () => {
    const http = await serveWorker(worker, database.url);
    try {
      expect((await http.get('/metrics')).status).toBe(200);
      expect((await http.get('/nothing')).status).toBe(404);
      expect((await fetch(`${http.url}/healthz`, { method: 'POST' })).status).toBe(404);
    } finally {
      await http.close();
    }
  });
});

describe('an address in use', () => {
  it('is an error of one line where somebody has chosen it', async () => {
    const other = createServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as AddressInfo;
    try {
      await expect(
        startHttpServer({
          served: worker,
          connection: database.url,
          address: { host: '127.0.0.1', port },
          logger: silent,
        }),
      ).rejects.toMatchObject({
        line: `cannot serve HTTP on 127.0.0.1:${port}: another process listens there. Set PGEMBEDDER_HTTP to another address, or to off`,
      });
    } finally {
      other.close();
    }
  });

  it('is a warning of one line where it is the default one', async () => {
    const other = createServer().listen(8089, '127.0.0.1');
    // Where it is in use already, so much the better.
    await Promise.race([once(other, 'listening'), once(other, 'error')]).catch(() => {});
    const lines: string[] = [];
    const logger = pino({}, { write: (line: string) => void lines.push(JSON.parse(line).msg as string) });
    try {
      const http = await startHttpServer({
        served: worker,
        connection: database.url,
        address: { host: '127.0.0.1', port: 8089 },
        logger,
      });
      expect(http.url).toBeNull();
      expect(lines).toEqual([
        'cannot serve HTTP on 127.0.0.1:8089: another process listens there; working without. Set PGEMBEDDER_HTTP to another address, or to off',
      ]);
      await http.close();
    } finally {
      other.close();
    }
  });

  it('that this machine does not have is an error', async () => {
    await expect(
      startHttpServer({
        served: worker,
        connection: database.url,
        address: { host: '203.0.113.1', port: 1 },
        logger: silent,
      }),
    ).rejects.toMatchObject({ message: expect.stringMatching(/^cannot serve HTTP on 203\.0\.113\.1:1: /) });
  });
});

it('a page of another name does not read metrics of this machine, where no token keeps it out', async () => {
  const statusFor = async (host: string, options: object = {}) => {
    const http = await serveWorker(worker, database.url, options);
    try {
      const asked = request(`${http.url}/metrics`, {
        headers: { host, authorization: 'Bearer open-sesame' },
      });
      const [response] = (await once(asked.end(), 'response')) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    } finally {
      await http.close();
    }
  };
  expect([await statusFor('rebound.example:80'), await statusFor('10.0.0.1')]).toEqual([403, 403]);
  expect([await statusFor('localhost:8089'), await statusFor('[::1]:8089')]).toEqual([200, 200]);
  expect(await statusFor('behind-a-proxy.example', { tokens: OPEN_SESAME })).toBe(200);
});

it('liveness ends with the worker’s loop', async () => {
  const failed = { ...worker, state: 'failed' } as unknown as Worker;
  const parts = {
    readiness: undefined as never,
    metrics: { countRequest: () => {} } as never,
    api: null,
    operate: { addTo: () => {} } as never,
    tokens: new Tokens([]),
    origins: [],
    local: true,
    logger: silent,
  };
  const response = await createApp({ served: failed, ...parts }).request('/healthz');
  expect([response.status, await response.json()]).toEqual([503, { alive: false, worker: 'failed' }]);
});

it('requests that a worker has accepted are answered before its engine ends', async () => {
  const embedder = new FakeEmbedder();
  const own = workerOn(database, { embedder });
  const http = await serveWorker(own, database.url, {
    api: { defaultFor: () => ({ name: 'all-MiniLM-L6-v2' }), list: () => [] },
  });
  const ask = () =>
    fetch(`${http.url}/v1/embeddings`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ input: 'a text' }),
    });
  try {
    expect((await ask()).status).toBe(503);
    await own.start();
    embedder.hold();
    const asked = ask();
    await embedder.nextCall();
    const stopped = own.stop();
    expect((await ask()).status).toBe(503);
    embedder.release();
    expect((await asked).status).toBe(200);
    await stopped;
  } finally {
    await own.stop();
    await http.close();
  }
});
