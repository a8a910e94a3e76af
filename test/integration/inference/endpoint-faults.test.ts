import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/endpoints/endpoint.ts';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { cpu } from '../../../src/inference/devices/device.ts';
import type { Embedder } from '../../../src/inference/embedder.ts';
import { openEmbedder } from '../../../src/inference/open-embedder.ts';
import type { EmbedOptions } from '../../../src/inference/text-embedder.ts';
import { EmbeddingServer, type Misdeed } from '../../support/embedding-server.ts';
import { endpointAt } from '../../support/endpoints.ts';
import { cosine, fakeVector, silent } from '../../support/pgembedder.ts';

let server: EmbeddingServer;
let embedder: Embedder;

beforeEach(async () => {
  server = await EmbeddingServer.start();
  open({});
});

afterEach(async () => {
  await embedder.stop();
  await server.stop();
});

/** Opens the embedder with one endpoint, the server. */
function open(own: Partial<Endpoint>): void {
  embedder = openEmbedder({
    ...{ logger: silent, device: cpu, directories: [] },
    endpoints: [endpointAt(server.url, own)],
  });
}

const TEXTS = ['one', 'two', 'three', 'four', 'five', 'six', 'seven', 'eight'];

function embed(texts: readonly string[] = TEXTS, options: EmbedOptions = {}) {
  return embedder.embedTexts(embedder.find('there:words', 'feature-extraction'), texts, options);
}

/** Whom an error concerns, and what it says. */
async function failure(texts: readonly string[] = TEXTS, options: EmbedOptions = {}) {
  const error = await embed(texts, options).then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof EngineError)) throw new Error(`no EngineError: ${error}`);
  return error;
}

async function expectVectors(texts: readonly string[] = TEXTS): Promise<void> {
  const results = await embed(texts);
  for (const [place, text] of texts.entries()) {
    const vector = results[place] as Float32Array;
    expect(cosine(vector, fakeVector(text)), text).toBeGreaterThan(0.999_999);
    expect(Math.hypot(...vector)).toBeCloseTo(1, 5);
  }
}

describe('what passes is tried again, and nobody notices', () => {
  it.each<[string, Misdeed]>([
    ['a connection that is cut', 'cut'],
    ['an answer that is cut', 'half'],
    ['a status 500', { status: 500 }],
    ['a status 502 without JSON', { status: 502, body: 'bad gateway' }],
    ['an answer that is no JSON', { raw: '<html>' }],
    ['an answer without vectors', { raw: '{}' }],
    ['an answer for fewer texts', { raw: '{"data": [{"index": 0, "embedding": [1, 2]}]}' }],
  ])('%s', async (_, misdeed) => {
    server.misbehave = (_request, number) => (number < 2 ? misdeed : undefined);
    await expectVectors();
    expect(server.received).toHaveLength(4);
  });

  it('an answer that does not say which vector is whose', async () => {
    server.misbehave = (request, number) => {
      const answer = server.goodAnswer(request);
      for (const each of answer.data) each.index = 0;
      return number < 2 ? { raw: JSON.stringify(answer) } : undefined;
    };
    await expectVectors();
  });

  it('vectors of another length', async () => {
    server.misbehave = (request, number) => {
      server.dimensions = number < 2 ? 8 : 384;
      return { raw: JSON.stringify(server.goodAnswer(request)) };
    };
    await expectVectors();
  });
});

describe('one bad text costs no others', () => {
  it.each<[string, string, Misdeed]>([
    ['that the server refuses', 'run', { status: 422, body: { error: { message: 'not this' } } }],
    ['that is too long for it', 'run', { status: 413 }],
    ['that it calls a bad request', 'run', { status: 400 }],
    ['over which it breaks', 'died', { status: 500 }],
    ['over which the connection is cut', 'died', 'cut'],
  ])('%s', async (_, kind, misdeed) => {
    server.misbehave = ({ texts }) => (texts.includes('three') ? misdeed : undefined);
    const results = await embed();
    expect(results.map((result) => (result instanceof EngineError ? result.kind : 'vector'))).toEqual(
      TEXTS.map((text) => (text === 'three' ? kind : 'vector')),
    );
    expect((results[2] as EngineError).line).toMatch(/^Endpoint 'there' /);
  });

  it('for which it has no answer in time', async () => {
    open({ limits: { ...endpointAt('http://x').limits, timeout_seconds: 0.3 } });
    server.misbehave = ({ texts }) => (texts.includes('three') ? 'hang' : undefined);
    const results = await embed();
    expect(results.map((result) => result instanceof EngineError && result.kind)).toEqual(
      TEXTS.map((text) => text === 'three' && 'timeout'),
    );
  });

  it.each([
    ['null in it', (vector: number[]) => [null, ...vector.slice(1)]],
    ['null for it', () => null],
    ['zeros for it', (vector: number[]) => vector.map(() => 0)],
    ['words in it', (vector: number[]) => ['a', ...vector.slice(1)]],
  ])('that has %s', async (_, spoil) => {
    server.knowsBase64 = false;
    server.misbehave = (request) => {
      const answer = server.goodAnswer(request);
      const place = request.texts.indexOf('three');
      if (place >= 0) answer.data[place].embedding = spoil(answer.data[place].embedding);
      return { raw: JSON.stringify(answer) };
    };
    const results = await embed();
    expect(results.map((result) => result instanceof EngineError && result.kind)).toEqual(
      TEXTS.map((text) => text === 'three' && 'not-finite'),
    );
  });

  it('that has NaN, as Python writes it', async () => {
    server.knowsBase64 = false;
    server.misbehave = (request) => ({
      raw: JSON.stringify(server.goodAnswer(request)).replace(/"embedding":\[[^,]*/, '"embedding":[NaN'),
    });
    expect(await embed(['one'])).toEqual([expect.objectContaining({ kind: 'not-finite' })]);
  });
});

describe('what concerns the model costs no text', () => {
  it.each<[string, string, Misdeed, RegExp]>([
    [
      'a wrong key',
      'load',
      { status: 401 },
      /^Endpoint 'there' does not let pgembedder in: status 401\. Check the key/,
    ],
    ['no right', 'load', { status: 403 }, /status 403/],
    [
      'an unknown model',
      'load',
      { status: 404 },
      /has no model 'words', or nothing at its url: status 404, made for/,
    ],
    ['no quota', 'load', { status: 429, body: { error: { code: 'insufficient_quota' } } }, /no quota left/],
    ['a redirect', 'load', { status: 307, headers: { location: 'http://127.0.0.1:1/' } }, /not followed/],
    ['requests that are never right', 'load', { status: 400 }, /gives no vector for 'a small cat' either/],
    [
      'a server that always breaks',
      'start',
      { status: 500 },
      /gives no vector for 'a small cat' either: .*500/,
    ],
    [
      'one that always cuts',
      'start',
      'cut',
      /gives no vector .* connection to http:\/\/127\.0\.0\.1:\d+ broke/,
    ],
  ])('%s', async (_, kind, misdeed, message) => {
    server.misbehave = () => misdeed;
    const error = await failure();
    expect(error.kind).toBe(kind);
    expect(error.line).toMatch(message);
  });

  it('vectors of another length than is listed', async () => {
    server.dimensions = 8;
    const error = await failure(['one']);
    expect(error.kind).toBe('start');
    expect(error.message).toMatch(/its vectors have 8 dimensions, and 384 are listed/);
  });

  it('a server that hangs', async () => {
    open({ limits: { ...endpointAt('http://x').limits, timeout_seconds: 0.3 } });
    server.misbehave = () => 'hang';
    const error = await failure(['one']);
    expect(error).toMatchObject({ kind: 'start', message: expect.stringMatching(/within 0\.3 s/) });
  });

  it('a server that is not there', async () => {
    await server.stop();
    const error = await failure(['one']);
    expect(error).toMatchObject({ kind: 'start', message: expect.stringMatching(/ECONNREFUSED/) });
    server = await EmbeddingServer.start();
  });

  it('an answer without an end', async () => {
    server.misbehave = () => ({ raw: ' '.repeat(1_000_000) });
    expect((await failure(['one'])).message).toMatch(/its answer has more than \d+ bytes/);
  });

  it('no error shows the key, whatever the server says', async () => {
    open({ authorization: () => ({ authorization: 'Bearer sk-secret' }) });
    for (const status of [400, 404, 418, 500]) {
      server.misbehave = () => ({ status, body: { error: { message: 'the key sk-secret is not right' } } });
      const error = await failure(['one']);
      expect(error.line).toMatch(/the key \*\*\* is not right/);
      expect(JSON.stringify([error, error.cause, error.stack])).not.toMatch(/sk-secret/);
    }
  });
});

describe('a server that ends over a text', () => {
  /** What comes of some calls, with the server started again after each. */
  async function embedAgain(texts: readonly string[], runs: number): Promise<string[]> {
    const outcomes: string[] = [];
    for (let run = 0; run < runs; run++) {
      const results = await embed(texts).catch((error: unknown) => (error as EngineError).kind);
      outcomes.push(
        typeof results === 'string'
          ? results
          : results.map((each) => (each instanceof EngineError ? each.kind : 'vector')).join(' '),
      );
      await server.restart();
    }
    return outcomes;
  }

  it('is the model’s error at first; then the text stands alone', async () => {
    server.misbehave = ({ texts }) => (texts.includes('three') ? 'end' : undefined);
    const [first, ...others] = await embedAgain(['one', 'two', 'three', 'four'], 6);
    expect(first).toBe('start');
    expect(others).toContain('vector vector died vector');
    // Mended. What was found out in the last run is told once more.
    server.misbehave = () => undefined;
    await embed();
    await expectVectors();
  });

  it('a text that is not to blame for its end is found innocent', async () => {
    let ends = 1;
    server.misbehave = () => (ends-- > 0 ? 'end' : undefined);
    expect(await embedAgain(TEXTS, 2)).toEqual(['start', TEXTS.map(() => 'vector').join(' ')]);
  });
});

describe('a server that wants nothing now', () => {
  it.each<[string, number, (now: number) => string | undefined, number]>([
    ['429, by seconds', 429, () => '30', 30_000],
    ['503, by seconds', 503, () => '30', 30_000],
    ['429, by a date', 429, (now) => new Date(now + 60_000).toUTCString(), 59_000],
    ['429, without a word', 429, () => undefined, 1_000],
  ])('%s', async (_, status, after, least) => {
    const waits: unknown[] = [];
    embedder.backends[0]!.on('wait', ({ reason }) => waits.push(reason));
    const begin = Date.now();
    const header = after(begin);
    server.misbehave = () => ({ status, headers: header === undefined ? {} : { 'retry-after': header } });
    const error = await failure(['one']);
    expect(error.kind).toBe('later');
    expect(error.until! - begin).toBeGreaterThanOrEqual(least);
    // A date has whole seconds.
    expect(error.until! - Date.now()).toBeLessThanOrEqual(least + 1_000);
    expect(waits).toEqual([String(status)]);
    // Others are not sent any more.
    expect((await failure(['two'])).kind).toBe('later');
    expect(server.received).toHaveLength(1);
  });

  it('a caller who waits for the answer gets it when that is soon', async () => {
    server.misbehave = (_, number) =>
      number === 0 ? { status: 429, headers: { 'retry-after': '1' } } : undefined;
    const [vector] = await embed(['one'], { priority: 'interactive' });
    expect(vector).toBeInstanceOf(Float32Array);
    expect(server.received).toHaveLength(2);
  });
});
