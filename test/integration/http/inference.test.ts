import OpenAI, { type APIError } from 'openai';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { z } from 'zod';
import { apiRoutes } from '../../../src/http/api/api.ts';
import type { Embedder } from '../../../src/inference/embedder.ts';
import type { SparseVector } from '../../../src/sparse-vector.ts';
import { cosine } from '../../support/pgembedder.ts';
import { type InferenceServer, openTestEmbedder, serveModels } from './inference-server.ts';

const MODEL = 'all-MiniLM-L6-v2';
let embedder: Embedder;
let server: InferenceServer;

beforeAll(async () => {
  embedder = openTestEmbedder();
  server = await serveModels(embedder);
});
afterAll(async () => {
  await server.close();
  await embedder.stop();
});

async function vectorOf(text: string): Promise<Float32Array> {
  const [vector] = await embedder.embedTexts(embedder.find(MODEL, 'feature-extraction'), [text]);
  return vector as Float32Array;
}

/** An int8 model scales by what is in the batch, so vectors differ a little. */
const near = async (found: readonly number[], text: string) =>
  expect(cosine(Float32Array.from(found), await vectorOf(text))).toBeGreaterThan(0.98);

describe("OpenAI's client", () => {
  const client = () => new OpenAI({ baseURL: `${server.url}/v1`, apiKey: 'none', maxRetries: 0 });

  it('embeds a text, and several', async () => {
    const one = await client().embeddings.create({ model: MODEL, input: 'a small cat' });
    await near(one.data[0]!.embedding, 'a small cat');
    expect(one).toMatchObject({ object: 'list', model: MODEL, usage: { prompt_tokens: 5, total_tokens: 5 } });
    const two = await client().embeddings.create({ model: MODEL, input: ['a loan', 'a small cat'] });
    expect(two.data.map(({ index, object }) => [index, object])).toEqual([
      [0, 'embedding'],
      [1, 'embedding'],
    ]);
    await near(two.data[0]!.embedding, 'a loan');
    await near(two.data[1]!.embedding, 'a small cat');
  });

  it('gets the same numbers as floats and in base64', async () => {
    const ask = { model: MODEL, input: 'a small cat' };
    const floats = await client().embeddings.create({ ...ask, encoding_format: 'float' });
    const base64 = await client().embeddings.create({ ...ask, encoding_format: 'base64' });
    const bytes = Buffer.from(base64.data[0]!.embedding as unknown as string, 'base64');
    const decoded = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length));
    expect([...decoded]).toEqual(floats.data[0]!.embedding);
  });

  it('asks for fewer dimensions, of length 1', async () => {
    const { data } = await client().embeddings.create({ model: MODEL, input: 'a small cat', dimensions: 64 });
    const { embedding } = data[0]!;
    expect([embedding.length, Math.hypot(...embedding)]).toEqual([64, expect.closeTo(1, 5)]);
  });

  it('is told that a model whose vectors are finished scales them in any case', async () => {
    const response = await server.post('/embed', { inputs: 'a cat', normalize: false });
    expect([response.status, ((await response.json()) as { error: string }).error]).toEqual([
      422,
      `The vectors of '${MODEL}' cannot be had with normalize false: leave it out`,
    ]);
    expect((await server.post('/embed', { inputs: 'a cat' })).status).toBe(200);
  });

  it('sends token ids of the model', async () => {
    // 'a small cat' to this model.
    const cat = [1037, 2235, 4937];
    const one = await client().embeddings.create({ model: MODEL, input: cat });
    await near(one.data[0]!.embedding, 'a small cat');
    const two = await client().embeddings.create({ model: MODEL, input: [cat, [101, ...cat, 102]] });
    expect(two.data).toHaveLength(2);
    await near(two.data[1]!.embedding, 'a small cat');
  });

  it('lists models', async () => {
    const names: string[] = [];
    for await (const { id } of client().models.list()) names.push(id);
    expect(names).toContain(MODEL);
    expect(names).toContain('pgembedder/tiny-random-nli');
    expect(await client().models.retrieve(MODEL)).toMatchObject({ id: MODEL, object: 'model' });
  });

  it('gets its own classes of errors, with one sentence and the id of the request', async () => {
    const refused = async (input: object) =>
      client()
        .embeddings.create({ model: MODEL, input: 'a', ...input } as never)
        .then(
          () => undefined,
          (error: APIError) => error,
        );
    const missing = await refused({ model: 'text-embedding-3-small' });
    expect(missing).toBeInstanceOf(OpenAI.NotFoundError);
    expect(missing).toMatchObject({ status: 404, code: 'model_not_found', param: 'model' });
    expect(missing!.requestID).toMatch(/^req_[0-9a-f]{32}$/);
    expect(missing!.message).toBe(
      "404 There is no model 'text-embedding-3-small'. GET /v1/models lists those that there are",
    );
    expect(await refused({ input: '' })).toBeInstanceOf(OpenAI.BadRequestError);
    expect(await refused({ dimensions: 385 })).toMatchObject({ status: 400, param: 'dimensions' });
    expect(await refused({ input: [999_999] })).toMatchObject({ status: 400, code: 'unknown_token' });
    expect(await refused({ model: 'pgembedder/tiny-random-nli' })).toMatchObject({
      status: 422,
      code: 'wrong_model',
    });
    expect(await refused({ model: '../../etc' })).toMatchObject({ status: 404 });
  });
});

describe('labels', () => {
  it('classify, zero-shot and tokens give label, score and detail', async () => {
    const spam = await server.ask('/v1/classify', {
      model: 'pgembedder/tiny-random-multilabel',
      input: ['one', 'two'],
      top_k: 1,
    });
    expect(spam).toMatchObject({ object: 'list', model: 'pgembedder/tiny-random-multilabel' });
    expect(
      spam.data.map(({ index, detail }: { index: number; detail: object }) => [
        index,
        Object.keys(detail).length,
      ]),
    ).toEqual([
      [0, 1],
      [1, 1],
    ]);
    const labels = ['sport', 'politics'];
    const nearest = await server.ask('/v1/zero-shot', {
      model: MODEL,
      input: 'the match ended in a draw',
      labels,
    });
    expect(nearest.data[0]).toMatchObject({
      index: 0,
      label: 'sport',
      detail: { sport: expect.any(Number) },
    });
    const entailed = await server.ask('/v1/zero-shot', {
      model: 'pgembedder/tiny-random-nli',
      input: 'a text',
      labels,
      multi_label: true,
    });
    expect(Object.keys(entailed.data[0].detail).sort()).toEqual(['politics', 'sport']);
    const entities = await server.ask('/v1/tokens', {
      model: 'pgembedder/tiny-random-ner',
      input: 'Ada Lovelace lived in London',
      aggregation_strategy: 'none',
    });
    for (const entity of entities.data[0].detail)
      expect(entity).toMatchObject({
        entity: expect.any(String),
        start: expect.any(Number),
        end: expect.any(Number),
      });
  });

  it('want a model for their task, and options that fit it', async () => {
    const status = async (path: string, body: object) => (await server.post(path, body)).status;
    expect(await status('/v1/classify', { input: 'a' })).toBe(404);
    expect(await status('/v1/classify', { model: MODEL, input: 'a' })).toBe(422);
    expect(await status('/v1/zero-shot', { model: MODEL, input: 'a' })).toBe(400);
    expect(await status('/v1/zero-shot', { model: MODEL, input: 'a', labels: ['x', 'x'] })).toBe(422);
    expect(
      await status('/v1/zero-shot', {
        model: 'pgembedder/tiny-random-nli',
        input: 'a',
        labels: ['x'],
        hypothesis_template: 'no',
      }),
    ).toBe(400);
  });
});

describe("text-embeddings-inference's routes", () => {
  it('embed a text and several, at /embed and at the root', async () => {
    for (const path of ['/embed', '/']) {
      const one = await server.ask(path, {
        inputs: 'a small cat',
        truncate: true,
        normalize: true,
        prompt_name: null,
      });
      expect(one).toHaveLength(1);
      await near(one[0], 'a small cat');
      expect(await server.ask(path, { inputs: ['a', 'b'], dimensions: 8 })).toMatchObject([
        { length: 8 },
        { length: 8 },
      ]);
    }
  });

  it('refuse a long text where it must not be cut, in their own form', async () => {
    const long = 'word '.repeat(300);
    expect(await server.ask('/embed', { inputs: long })).toHaveLength(1);
    const exact = 'word '.repeat(254);
    expect(await server.ask('/embed', { inputs: exact, truncate: false })).toHaveLength(1);
    for (const text of [`${exact} word`, long, 'x '.repeat(300_000)]) {
      const response = await server.post('/embed', { inputs: text, truncate: false });
      expect(response.status).toBe(422);
      expect(await response.json()).toEqual({
        error: `A text has more tokens than the 256 that '${MODEL}' takes`,
        error_type: 'Validation',
        request_id: response.headers.get('x-request-id'),
      });
    }
  });

  it('compare sentences, and show tokens, the model and health', async () => {
    const [kitten, loan] = await server.ask('/similarity', {
      inputs: { source_sentence: 'a cat', sentences: ['a kitten', 'a loan'] },
    });
    expect(kitten).toBeGreaterThan(loan);
    const [tokens] = await server.ask('/tokenize', { inputs: 'a cat' });
    expect(tokens.map(({ id, special }: { id: number; special: boolean }) => [id, special])).toEqual([
      [101, true],
      [1037, false],
      [4937, false],
      [102, true],
    ]);
    expect(await (await server.get('/info')).json()).toMatchObject({
      model_id: MODEL,
      max_input_length: 256,
    });
    expect((await server.get('/health')).status).toBe(200);
  });

  it('predict labels, the likeliest first', async () => {
    const own = await serveModels(embedder, {
      api: { defaultFor: () => ({ name: 'pgembedder/tiny-random-multilabel' }), list: () => [] },
    });
    try {
      const one = await own.ask('/predict', { inputs: 'a text' });
      const scores = one.map(({ score }: { score: number }) => score);
      expect(scores).toEqual([...scores].sort((a: number, b: number) => b - a));
      expect(await own.ask('/predict', { inputs: [['a text'], ['another']] })).toMatchObject(
        [[{}], [{}]].map(() => one.map(() => ({ label: expect.any(String) }))),
      );
      expect((await own.post('/predict', { inputs: [['a', 'pair']] })).status).toBe(422);
    } finally {
      await own.close();
    }
  });
});

describe('sparse vectors', () => {
  const model = 'matrix/splade';

  it('by /embed_sparse, as text-embeddings-inference has it', async () => {
    const own = await serveModels(embedder, { api: { defaultFor: () => ({ name: model }), list: () => [] } });
    try {
      const inputs = ['a small cat', 'a loan'];
      const found = await own.ask('/embed_sparse', { inputs });
      const vectors = await embedder.embedSparse(embedder.find(model, 'feature-extraction'), inputs);
      expect(found).toEqual(
        vectors.map((vector) => {
          const { indices, values } = vector as SparseVector;
          return Array.from(indices, (index, place) => ({
            index,
            value: expect.closeTo(values[place]!, 4),
          }));
        }),
      );
      expect(await own.ask('/embed_sparse', { inputs: 'a loan' })).toHaveLength(1);
      expect((await own.post('/embed_sparse', { inputs: '' })).status).toBe(400);
      const long = { inputs: 'word '.repeat(400), truncate: false };
      expect((await own.post('/embed_sparse', long)).status).toBe(422);
      const info = await own.get('/info');
      expect(await info.json()).toMatchObject({ model_type: { embedding: { pooling: 'splade' } } });
    } finally {
      await own.close();
    }
  });

  it('are refused where dense ones are asked for, and the other way round', async () => {
    for (const [path, body] of [
      ['/v1/embeddings', { model, input: 'a' }],
      ['/v1/zero-shot', { model, input: 'a', labels: ['b', 'c'] }],
    ] as const) {
      const response = await server.post(path, body);
      expect([response.status, await response.text()]).toEqual([
        422,
        expect.stringContaining("Vectors of model 'matrix/splade' are sparse, and dense ones are asked for"),
      ]);
    }
    const dense = await server.post('/embed_sparse', { inputs: 'a' });
    expect([dense.status, await dense.text()]).toEqual([
      422,
      expect.stringContaining(`Vectors of model '${MODEL}' are dense, and sparse ones are asked for`),
    ]);
  });
});

describe('texts are ranked by a query', () => {
  const model = 'matrix/reranker-xlmr';
  const query = 'how do I get my money back';
  const documents = ['the office is closed', { text: 'refunds take three days' }, 'the office is closed'];
  const scoresOf = async (raw_scores: boolean) =>
    (await embedder.rankTexts(
      embedder.find(model, 'text-ranking'),
      query,
      documents.map((each) => (typeof each === 'string' ? each : each.text)),
      { raw_scores },
    )) as number[];

  it('by /v1/rerank, as Jina and Cohere have it', async () => {
    const scores = await scoresOf(false);
    const best = scores[1]! > scores[0]! ? [1, 0, 2] : [0, 2, 1];
    const all = await server.ask('/v1/rerank', { model, query, documents });
    expect(all).toMatchObject({ object: 'rerank', model, usage: { prompt_tokens: expect.any(Number) } });
    expect(all.results).toEqual(
      best.map((index) => ({ index, relevance_score: expect.closeTo(scores[index]!, 5) })),
    );
    const first = await server.ask('/v1/rerank', {
      model,
      query,
      documents,
      top_n: 1,
      return_documents: true,
    });
    const text = typeof documents[best[0]!] === 'string' ? 'the office is closed' : 'refunds take three days';
    expect(first.results).toEqual([
      { index: best[0], relevance_score: expect.closeTo(scores[best[0]!]!, 5), document: { text } },
    ]);
    const raw = await server.ask('/v1/rerank', { model, query, documents, raw_scores: true });
    expect(raw.results[0].relevance_score).toBeCloseTo((await scoresOf(true))[best[0]!]!, 5);
  });

  it('by /rerank, as text-embeddings-inference has it', async () => {
    const own = await serveModels(embedder, {
      api: { defaultFor: (task) => (task === 'text-ranking' ? { name: model } : null), list: () => [] },
    });
    try {
      const texts = ['a', 'the office'];
      const found = await own.ask('/rerank', { query, texts, return_text: true });
      expect(found.map(({ index, text }: { index: number; text: string }) => [index, text]).sort()).toEqual([
        [0, 'a'],
        [1, 'the office'],
      ]);
      expect(found[0].score).toBeGreaterThanOrEqual(found[1].score);
      const long = { query, texts: ['word '.repeat(400)] };
      expect(await own.ask('/rerank', long)).toHaveLength(1);
      const refused = await own.post('/rerank', { ...long, truncate: false });
      expect([refused.status, await refused.json()]).toEqual([
        422,
        expect.objectContaining({
          error: expect.stringContaining(`more tokens than the 128 that '${model}' takes`),
        }),
      ]);
    } finally {
      await own.close();
    }
  });

  it('by models that do that', async () => {
    const other = await server.post('/v1/rerank', { model: MODEL, query, documents });
    expect([other.status, await other.json()]).toEqual([
      422,
      expect.objectContaining({
        error: expect.objectContaining({
          message: `The model '${MODEL}' is for feature-extraction, not for text-ranking`,
        }),
      }),
    ]);
    expect((await server.post('/v1/rerank', { query, documents })).status).toBe(404);
    expect((await server.post('/v1/rerank', { model, query, documents: [] })).status).toBe(400);
    expect((await server.post('/v1/rerank', { model, query: '', documents })).status).toBe(400);
    // It has one label, so it classifies as well.
    const { data } = await server.ask('/v1/classify', { model, input: 'a' });
    expect(data[0]).toMatchObject({ label: 'LABEL_0', score: expect.any(Number) });
  });
});

it('prompts come before texts as input_type or prompt_name says', async () => {
  const seen: (string | undefined)[] = [];
  const model = {
    ...embedder.find(MODEL, 'feature-extraction'),
    prompts: { query: 'query: ', passage: 'passage: ' },
  };
  const own = await serveModels({
    find: () => model as never,
    admit: () => {},
    tokenizer: (each) => embedder.tokenizer(each),
    callKey: () => '',
    labelTexts: () => Promise.reject(new Error('not asked')),
    rankTexts: () => Promise.reject(new Error('not asked')),
    embedSparse: () => Promise.reject(new Error('not asked')),
    embedTexts: async (_, texts, options) => {
      seen.push(options?.prompt);
      expect(options?.priority).toBe('interactive');
      return texts.map(() => new Float32Array(384));
    },
  });
  try {
    for (const body of [
      {},
      { input_type: 'query' },
      { prompt_name: 'query' },
      { input_type: 'search_query' },
      { input_type: 'passage' },
      { input_type: 'document' },
    ])
      await own.ask('/v1/embeddings', { input: 'a', ...body });
    await own.ask('/embed', { inputs: 'a', prompt_name: 'query' });
    expect(seen).toEqual(['', 'query: ', 'query: ', 'query: ', 'passage: ', 'passage: ', 'query: ']);
    expect((await own.post('/v1/embeddings', { input: 'a', input_type: 'other' })).status).toBe(400);
  } finally {
    await own.close();
  }
});

it('the document is of the routes, and the page shows it without a request to anywhere', async () => {
  const response = await server.get('/openapi.json');
  const document = (await response.json()) as { openapi: string; paths: object };
  expect(document.openapi).toBe('3.1.0');
  expect(Object.keys(document.paths).sort()).toEqual([...new Set(apiRoutes.map(({ path }) => path))].sort());
  const shown = await server.get('/docs');
  const page = await shown.text();
  expect(shown.headers.get('content-security-policy')).toContain("default-src 'none'");
  expect(page).not.toMatch(/<script|src=|https?:\/\//);
  for (const { path } of apiRoutes) expect(page).toContain(`id="${path}"`);
});

it('answers fit the document', async () => {
  const bodies: Record<string, unknown> = {
    '/v1/classify': undefined,
    '/v1/tokens': undefined,
    '/predict': undefined,
    '/v1/rerank': { model: 'matrix/reranker-xlmr', query: 'a', documents: ['b'], return_documents: true },
    '/rerank': undefined,
    '/embed_sparse': undefined,
  };
  for (const route of apiRoutes) {
    const path = route.path.replace('{model}', MODEL);
    const body = path in bodies ? bodies[path] : route.example;
    if (route.method === 'post' && body === undefined) continue;
    const response = await (route.method === 'get' ? server.get(path) : server.post(path, body));
    expect(z.safeParse(route.answer, await response.json()), route.path).toMatchObject({ success: true });
  }
});
