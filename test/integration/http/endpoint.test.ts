import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Endpoint } from '../../../src/endpoints/endpoint.ts';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { cpu } from '../../../src/inference/devices/device.ts';
import type { Embedder } from '../../../src/inference/embedder.ts';
import { openEmbedder } from '../../../src/inference/open-embedder.ts';
import { EmbeddingServer } from '../../support/embedding-server.ts';
import { endpointAt } from '../../support/endpoints.ts';
import { cosine, silent } from '../../support/pgembedder.ts';
import { type InferenceServer, openTestEmbedder, serveModels } from './inference-server.ts';

// Our own HTTP API as an endpoint of another pgembedder: a real server of OpenAI's API and of text-embeddings-inference's.

const MODEL = 'all-MiniLM-L6-v2';
const KEY = 'a-key-of-the-test';
const TEXTS = [
  'a small cat',
  'how do I get my money back',
  'naïve 猫 🐈',
  'long '.repeat(2_000),
  'one',
  'two',
  'three',
];

let own: Embedder;
let server: InferenceServer;

beforeAll(async () => {
  own = openTestEmbedder();
  server = await serveModels(own, { tokens: [{ token: KEY, scopes: ['infer'] }] });
});

afterAll(async () => {
  await server.close();
  await own.stop();
});

/** What a refusal says. */
async function messageOf(response: Response): Promise<string> {
  return ((await response.json()) as { error: { message: string } }).error.message;
}

/** An embedder that has nothing but the server. */
function connect(settings: Partial<Endpoint>): Embedder {
  const models = [
    { name: MODEL, dimensions: 384, max_tokens: 256, prompts: { query: '', passage: '' } },
    { name: 'none', dimensions: 384, max_tokens: 256, prompts: { query: '', passage: '' } },
    {
      name: 'pgembedder/tiny-random-ner',
      dimensions: 384,
      max_tokens: 256,
      prompts: { query: '', passage: '' },
    },
  ];
  const endpoint = endpointAt(server.url, {
    ...{ models, authorization: () => ({ authorization: `Bearer ${KEY}` }) },
    ...settings,
  });
  return openEmbedder({ logger: silent, device: cpu, directories: [], endpoints: [endpoint] });
}

describe.each<[string, Partial<Endpoint>]>([
  ['openai, base64', {}],
  ['openai, float', { encoding: 'float' }],
  ['tei', { api: 'tei', url: '' }],
])('%s', (_, settings) => {
  let remote: Embedder;

  beforeAll(() => {
    remote = connect(settings.url === '' ? { ...settings, url: server.url } : settings);
  });
  afterAll(() => remote.stop());

  it.each([
    ['as they are', {}],
    ['cut', { dimensions: 64 }],
    ['interactive', { priority: 'interactive' as const }],
  ])('vectors are those of the model on this machine: %s', async (_how, options) => {
    const here = await own.embedTexts(own.find(MODEL, 'feature-extraction'), TEXTS, options);
    const there = await remote.embedTexts(
      remote.find(`there:${MODEL}`, 'feature-extraction'),
      TEXTS,
      options,
    );
    for (const [place, text] of TEXTS.entries()) {
      const near = cosine(there[place] as Float32Array, here[place] as Float32Array);
      // An int8 model gives a text other vectors beside other texts.
      expect(near, text.slice(0, 20)).toBeGreaterThan(0.99);
    }
  });
});

it('a text that the server refuses costs no others', async () => {
  const remote = connect({});
  const model = remote.find(`there:${MODEL}`, 'feature-extraction');
  const results = await remote.embedTexts(model, ['one', '', 'two']);
  expect(results.map((result) => ('kind' in result ? result.line : result.length))).toEqual([
    384,
    expect.stringMatching(/^Endpoint 'there' refuses a text: status 4\d\d, /),
    384,
  ]);
  await remote.stop();
});

it('models of endpoints are served over HTTP like those of this machine', async () => {
  const remote = connect({});
  const choices = {
    defaultFor: () => null,
    list: () => [{ name: `there:${MODEL}`, task: 'feature-extraction', variants: [], directory: null }],
  };
  const gateway = await serveModels(remote, { api: choices });
  try {
    const answer = await gateway.ask('/v1/embeddings', { model: `there:${MODEL}`, input: TEXTS });
    const [here] = await own.embedTexts(own.find(MODEL, 'feature-extraction'), ['a small cat']);
    expect(cosine(Float32Array.from(answer.data[0].embedding), here as Float32Array)).toBeGreaterThan(0.99);
    const listed = (await (await gateway.get('/v1/models')).json()) as { data: unknown[] };
    expect(listed.data).toEqual([
      expect.objectContaining({ id: `there:${MODEL}`, owned_by: 'there', created: 0 }),
    ]);
    const misspelt = await gateway.post('/v1/embeddings', { model: 'there:all-MiniLM-L6', input: 'x' });
    expect(misspelt.status).toBe(404);
    expect(await messageOf(misspelt)).toContain(`Did you mean "there:${MODEL}"?`);
  } finally {
    await gateway.close();
    await remote.stop();
  }
});

it('an endpoint that takes nothing is 429 over HTTP, with the time to wait for', async () => {
  const busy = await EmbeddingServer.start();
  busy.misbehave = () => ({ status: 503, headers: { 'retry-after': '40' } });
  const remote = connect({ url: busy.url });
  const gateway = await serveModels(remote);
  try {
    const refused = await gateway.post('/v1/embeddings', { model: `there:${MODEL}`, input: 'x' });
    expect(refused.status).toBe(429);
    expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(30);
    expect(await messageOf(refused)).toMatch(/^Endpoint 'there' takes nothing before \d\d:\d\d:\d\d UTC/);
  } finally {
    await gateway.close();
    await remote.stop();
    await busy.stop();
  }
});

describe('refusals', () => {
  async function lineOf(settings: Partial<Endpoint>, model = MODEL): Promise<string> {
    const remote = connect(settings);
    try {
      await remote.embedTexts(remote.find(`there:${model}`, 'feature-extraction'), ['a small cat']);
      return 'embedded';
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      return `${error.kind}: ${error.line}`;
    } finally {
      await remote.stop();
    }
  }

  it('a wrong key', async () => {
    expect(await lineOf({ authorization: () => ({ authorization: 'Bearer wrong' }) })).toMatch(
      /^load: Endpoint 'there' does not let pgembedder in: status 401/,
    );
    expect(await lineOf({ authorization: () => ({}) })).toMatch(/^load: .*status 401/);
  });

  it('a model that it does not have', async () => {
    expect(await lineOf({}, 'none')).toMatch(/^load: .*status 404, There is no model 'none'/);
  });

  it('a model that gives no vectors', async () => {
    expect(await lineOf({}, 'pgembedder/tiny-random-ner')).toMatch(
      /^load: .*status 422, The model .* is for token-/,
    );
  });

  it('an address where nothing is', async () => {
    expect(await lineOf({ url: `${server.url}/v2` })).toMatch(/^load: .*nothing at its url: status 404/);
  });

  it('vectors of another length than is listed', async () => {
    const models = [{ ...endpointAt('').models[0]!, name: MODEL, dimensions: 512 }];
    expect(await lineOf({ models })).toMatch(/^start: .*its vectors have 384 dimensions, and 512 are listed/);
  });
});
