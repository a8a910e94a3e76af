import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/endpoints/endpoint.ts';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { cpu } from '../../../src/inference/devices/device.ts';
import type { Embedder } from '../../../src/inference/embedder.ts';
import { openEmbedder } from '../../../src/inference/open-embedder.ts';
import type { EmbedOptions } from '../../../src/inference/text-embedder.ts';
import type { VectorModel } from '../../../src/model-files/description.ts';
import { EmbeddingServer } from '../../support/embedding-server.ts';
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

describe.each(['openai', 'tei', 'ollama'] as const)('%s', (api) => {
  beforeEach(() => open({ api }));

  it('gives a vector for each text', async () => {
    await expectVectors();
    expect(server.received.map(({ path }) => path)).toEqual(
      Array(2).fill({ openai: '/v1/embeddings', tei: '/v1/embed', ollama: '/v1/api/embed' }[api]),
    );
    // Four inputs a request are listed.
    expect(server.received.every(({ texts }) => texts.length === 4)).toBe(true);
  });

  it('tells what it used', async () => {
    const told: unknown[] = [];
    const backend = embedder.backends[0]!;
    backend.on('counted', (counted) => told.push(counted));
    backend.on('request', (request) => told.push(request));
    backend.on('batch', ({ rows, tokens, model }) => told.push({ rows, tokens, model }));
    await embed(['one']);
    const tokens = { openai: 7, tei: 10, ollama: 10 }[api];
    expect(told).toEqual([
      { endpoint: 'there', outcome: '200' },
      { endpoint: 'there', model: 'there:words', tokens },
      { rows: 1, tokens, model: 'there:words' },
    ]);
  });
});

it('prompts of the model and a cut of dimensions work as with a model of this machine', async () => {
  const model = embedder.find('there:words', 'feature-extraction');
  expect(model.prompts).toEqual({ query: 'query: ', passage: '' });
  const [vector] = await embed(['one'], { prompt: model.prompts.query, dimensions: 16 });
  expect(server.texts).toEqual(['query: one']);
  expect(vector).toHaveLength(16);
  expect(Math.hypot(...(vector as Float32Array))).toBeCloseTo(1, 5);
  const [raw] = await embed(['one'], { normalize: false });
  expect(raw).toEqual(fakeVector('one'));
});

it('a model that gives vectors finds the nearest of several labels as well', async () => {
  const model = embedder.find('there:words', 'zero-shot-classification');
  const [result] = await embedder.labelTexts(model, ['one'], { labels: ['a', 'b'] });
  expect(result).toMatchObject({ label: expect.stringMatching(/^[ab]$/) });
});

it('the key goes in its header, and the model by its name there', async () => {
  open({ authorization: () => ({ authorization: 'Bearer abc' }) });
  await embed(['one']);
  expect(server.received[0]!.headers.authorization).toBe('Bearer abc');
  expect(server.received[0]!.body).toEqual({ model: 'words', input: ['one'], encoding_format: 'base64' });
});

it('vectors as numbers are taken as well, and in any order that index tells', async () => {
  server.knowsBase64 = false;
  await expectVectors();
  server.misbehave = (request) => {
    const answer = server.goodAnswer(request);
    return { raw: JSON.stringify({ ...answer, data: answer.data.reverse() }) };
  };
  await expectVectors();
});

it('a request that is under way when it stops is given up, and what waits is not sent', async () => {
  open({ limits: { ...endpointAt('http://x').limits, concurrent_requests: 1 } });
  let arrived = () => {};
  const first = new Promise<void>((resolve) => {
    arrived = resolve;
  });
  server.misbehave = () => {
    arrived();
    return 'hang';
  };
  const failed = failure();
  await first;
  await embedder.stop(50);
  expect((await failed).kind).toBe('stopped');
  expect(server.received).toHaveLength(1);
});

it('names that are none are refused in one sentence', () => {
  const lineOf = (name: string, task?: 'text-classification') => {
    try {
      embedder.find(name, task as undefined);
      return 'found';
    } catch (error) {
      return (error as EngineError).line;
    }
  };
  expect(lineOf('here:words')).toBe(
    "There is no model 'here:words': 'here' is no endpoint, and 'words' no variant. Did you mean \"there\"? There are there; the variants are q8, fp32, fp16, q4, q4f16, bnb4",
  );
  expect(lineOf('there:word')).toBe(
    "Endpoint 'there' has no model 'word'. Did you mean \"words\"? It is listed with words",
  );
  expect(lineOf('there:words', 'text-classification')).toMatch(/is for feature-extraction, not for text-/);
});

it('what the server does cannot be asked for otherwise', () => {
  const model = embedder.find('there:words', 'feature-extraction') as VectorModel;
  expect(() => embedder.admit(model, { pipeline: 'doc', pooling: 'cls' })).toThrow(/does the pooling itself/);
  expect(() => embedder.admit(model, { pipeline: 'doc', chunking: 'tokens' })).toThrow(/needs the tokenizer/);
  embedder.admit(model, { pipeline: 'doc', chunking: 'recursive' });
});
