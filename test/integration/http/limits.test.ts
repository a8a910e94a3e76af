import { once } from 'node:events';
import { type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { SCOPES } from '../../../src/config.ts';
import { BODY_BYTES } from '../../../src/http/api/bodies.ts';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { FakeEmbedder } from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { type InferenceServer, serveModels } from './inference-server.ts';

let server: InferenceServer;
afterEach(() => server.close());

const INPUT = { input: 'a text' };

/** A server whose engine is a fake one: it answers at once, or when it is let go. */
async function serveFake(options: Parameters<typeof serveModels>[1] = {}): Promise<FakeEmbedder> {
  const embedder = new FakeEmbedder();
  server = await serveModels(embedder, options);
  return embedder;
}

function rawConnection(): Socket {
  const { hostname, port } = new URL(server.url);
  return connect(Number(port), hostname);
}

describe('who may ask', () => {
  it('holders of a token with the scope', async () => {
    await serveFake({
      tokens: [
        { token: 'app', scopes: ['infer'] },
        { token: 'prometheus', scopes: ['read'] },
        { token: 'admin', scopes: SCOPES },
      ],
    });
    const statuses = async (headers: Record<string, string>) => [
      (await server.post('/v1/embeddings', INPUT, { headers })).status,
      (await server.get('/v1/models', headers)).status,
      (await server.get('/metrics', headers)).status,
      (await server.get('/nothing', headers)).status,
      (await server.get('/health', headers)).status,
      (await server.get('/docs', headers)).status,
    ];
    expect(await statuses({})).toEqual([401, 401, 401, 401, 200, 200]);
    expect(await statuses({ authorization: 'Bearer wrong' })).toEqual([401, 401, 401, 401, 200, 200]);
    expect(await statuses({ authorization: 'Bearer app' })).toEqual([200, 200, 403, 404, 200, 200]);
    expect(await statuses({ authorization: 'Bearer prometheus' })).toEqual([403, 403, 200, 404, 200, 200]);
    expect(await statuses({ authorization: 'Bearer admin' })).toEqual([200, 200, 200, 404, 200, 200]);
  });

  it('no web page whose name has come to mean this machine', async () => {
    await serveFake();
    const statusFor = async (host: string) => {
      const asked = request(`${server.url}/v1/models`, { headers: { host } });
      const [response] = (await once(asked.end(), 'response')) as [IncomingMessage];
      response.resume();
      return response.statusCode;
    };
    expect(await statusFor('rebound.example:8089')).toBe(403);
    expect(await statusFor('localhost:8089')).toBe(200);
  });

  it('no web page at all, unless its origin is set', async () => {
    await serveFake();
    const headers = { origin: 'https://app.example' };
    // What a page may send without asking first is not taken.
    const simple = await server.post('/v1/embeddings', INPUT, {
      headers: { ...headers, 'content-type': 'text/plain' },
    });
    expect(simple.status).toBe(415);
    const plain = await server.post('/v1/embeddings', INPUT, { headers });
    expect(plain.headers.has('access-control-allow-origin')).toBe(false);
    await server.close();
    await serveFake({ origins: ['https://app.example'] });
    const allowed = await server.post('/v1/embeddings', INPUT, { headers });
    expect(allowed.headers.get('access-control-allow-origin')).toBe('https://app.example');
    const other = await server.post('/v1/embeddings', INPUT, {
      headers: { origin: 'https://other.example' },
    });
    expect(other.headers.has('access-control-allow-origin')).toBe(false);
    const preflight = await fetch(`${server.url}/v1/embeddings`, {
      method: 'OPTIONS',
      headers: {
        ...headers,
        'access-control-request-method': 'POST',
        'access-control-request-headers': 'content-type',
      },
    });
    expect([preflight.status, preflight.headers.get('access-control-allow-headers')]).toEqual([
      204,
      'content-type',
    ]);
  });

  it('nobody where models are not run for requests', async () => {
    await serveFake({ api: null });
    expect((await server.post('/v1/embeddings', INPUT)).status).toBe(404);
    expect((await server.get('/docs')).status).toBe(404);
  });
});

describe('a refusal', () => {
  it('has a status, one sentence and an id, the client’s own where it gives a decent one', async () => {
    const embedder = await serveFake();
    const refused = async (path: string, body: unknown, init?: RequestInit) => {
      const response = await server.post(path, body, init);
      const { error } = (await response.json()) as { error: { message: string; request_id: string } };
      expect(error.request_id).toBe(response.headers.get('x-request-id'));
      return [response.status, error.message];
    };
    expect(await refused('/v1/embeddings', '{"input": ')).toEqual([
      400,
      expect.stringMatching(/^The body is not JSON in UTF-8: /),
    ]);
    expect(await refused('/v1/embeddings', '[]')).toEqual([400, expect.stringMatching(/^The body: /)]);
    expect(await refused('/v1/embeddings', {})).toEqual([400, expect.stringMatching(/^input: give a text/)]);
    expect(await refused('/v1/embeddings', { input: new Array(2_049).fill('a') })).toEqual([
      400,
      expect.stringMatching(/^input: give a text/),
    ]);
    expect(await refused('/v1/embeddings', `"${'a'.repeat(BODY_BYTES)}"`)).toEqual([
      413,
      `The body is longer than ${BODY_BYTES} bytes: send it in parts`,
    ]);
    expect(await refused('/v1/nothing', {})).toEqual([404, 'There is nothing at this path']);
    expect(await refused('/v1/models', {})).toEqual([405, 'This path takes GET']);
    embedder.fault = () => new EngineError('died', 'The engine died of this text', { hint: 'Change it' });
    expect(await refused('/v1/embeddings', { input: ['a', 'b'] })).toEqual([
      422,
      'Text 1: The engine died of this text. Change it',
    ]);
    const own = await server.post('/v1/embeddings', INPUT, { headers: { 'x-request-id': 'mine-1' } });
    expect(own.headers.get('x-request-id')).toBe('mine-1');
    const strange = await server.post('/v1/embeddings', INPUT, { headers: { 'x-request-id': 'a b"' } });
    expect(strange.headers.get('x-request-id')).toMatch(/^req_/);
  });

  it('says when to come again, while the server starts or too much waits', async () => {
    server = await serveModels(undefined);
    const starting = await server.post('/v1/embeddings', INPUT);
    expect([starting.status, starting.headers.get('retry-after')]).toEqual([503, '1']);
    expect((await server.get('/health')).status).toBe(503);
    await server.close();
    const embedder = await serveFake();
    embedder.hold();
    const large = { input: new Array(2_048).fill('word '.repeat(300)) };
    const asked = [0, 1, 2].map(() => server.post('/v1/embeddings', large));
    // The third finds that two wait already, whichever it is.
    const first = await Promise.race(asked);
    expect([first.status, first.headers.get('retry-after')]).toEqual([429, '1']);
    embedder.release();
    expect((await Promise.all(asked)).map(({ status }) => status).sort()).toEqual([200, 200, 429]);
  });
});

describe('a client', () => {
  it('that goes away leaves the line', async () => {
    const embedder = await serveFake();
    embedder.hold();
    const gone = new AbortController();
    const large = { input: new Array(200).fill('word '.repeat(300)) };
    const first = server.post('/v1/embeddings', large, { signal: gone.signal });
    await embedder.nextCall();
    const second = server.post('/v1/embeddings', { input: 'the last' });
    const aborted = expect(first).rejects.toThrow();
    const waiting = async () =>
      Number(/^pgembedder_http_waiting_tokens (\d+)$/m.exec(await (await server.get('/metrics')).text())![1]);
    expect(await waiting()).toBeGreaterThan(10_000);
    gone.abort();
    await aborted;
    await pollUntil(async () => ((await waiting()) < 10 ? true : undefined), {
      what: 'nobody waits',
      every: 20,
    });
    embedder.release();
    expect((await second).status).toBe(200);
    expect(embedder.calls.at(-1)).toEqual(['the last']);
    // What was with the engine already, and none of the rest.
    expect(embedder.calls.flat().length).toBeLessThan(100);
  });

  it('that is slow keeps nobody else waiting', async () => {
    await serveFake();
    const slow = Array.from({ length: 200 }, () => {
      const socket = rawConnection();
      socket.on('error', () => {});
      socket.write(
        'POST /v1/embeddings HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 500\r\n\r\n{',
      );
      return socket;
    });
    await Promise.all(slow.map((socket) => once(socket, 'connect')));
    expect((await server.post('/v1/embeddings', INPUT)).status).toBe(200);
    for (const socket of slow) socket.destroy();
  });

  it('that speaks no HTTP, or sends endless headers, is told so and cut off', async () => {
    await serveFake();
    const answerTo = async (text: string) => {
      const socket = rawConnection();
      socket.on('error', () => {});
      socket.write(text);
      const chunks: Buffer[] = [];
      socket.on('data', (chunk) => chunks.push(chunk));
      await once(socket, 'close');
      return Buffer.concat(chunks).toString();
    };
    expect(await answerTo('EHLO mail.example\r\n\r\n')).toMatch(/^HTTP\/1\.1 400 .*This is no HTTP request/s);
    const header = `GET / HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(20_000)}\r\n\r\n`;
    expect(await answerTo(header)).toMatch(/^HTTP\/1\.1 431 .*The headers are too long/s);
    expect((await server.post('/v1/embeddings', INPUT)).status).toBe(200);
  });

  it('that comes when all connections are taken, as many as /info says, is cut off alone', async () => {
    await serveFake();
    const info = await server.get('/info', { connection: 'close' });
    const { max_concurrent_requests: most } = (await info.json()) as { max_concurrent_requests: number };
    const open: Socket[] = [];
    try {
      while (open.length < most) {
        const socket = rawConnection();
        open.push(socket);
        await once(socket, 'connect');
      }
      const further = rawConnection().resume();
      await once(further, 'close');
      // Those that are open have to be answered still.
      const first = open[0]!;
      first.write('GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n');
      const [answer] = await once(first, 'data');
      expect(String(answer)).toMatch(/^HTTP\/1\.1 200/);
      expect(open.filter(({ destroyed }) => destroyed)).toEqual([]);
    } finally {
      for (const socket of open) socket.destroy();
    }
  });

  it('has its answer when the server stops, and another is refused', async () => {
    const embedder = await serveFake();
    embedder.hold();
    const accepted = server.post('/v1/embeddings', INPUT);
    await embedder.nextCall();
    const ends: Promise<unknown>[] = [];
    server.events.emit('stopping', (ended) => ends.push(ended));
    const refused = await server.post('/v1/embeddings', INPUT);
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([503, '1']);
    embedder.release();
    await Promise.all(ends);
    expect((await accepted).status).toBe(200);
  });
});

it('hundreds of malformed requests harm no neighbour', async () => {
  await serveFake();
  const malformed = [
    '',
    '{',
    'null',
    '{"input":[]}',
    '{"input":{"a":1}}',
    '{"input":[1,"a"]}',
    '\u0000',
    '{"input":[[]]}',
  ];
  const bad = Array.from({ length: 900 }, (_, i) =>
    server.post('/v1/embeddings', malformed[i % malformed.length]),
  );
  const good = Array.from({ length: 50 }, () => server.post('/v1/embeddings', INPUT));
  expect(new Set((await Promise.all(bad)).map(({ status }) => status))).toEqual(new Set([400]));
  expect(new Set((await Promise.all(good)).map(({ status }) => status))).toEqual(new Set([200]));
});
