import { describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import { Engine } from '../../../src/inference/engine/engine.ts';
import { fakeVector, silent } from '../../support/pgembedder.ts';
import { RemoteEngine } from '../../support/remote-engine.ts';

/** Two backends: the engine of this machine, and one elsewhere that is asked first. */
function start() {
  const remote = new RemoteEngine();
  const embedder = new Embedder({ engine: new Engine({ logger: silent }), others: [remote] });
  return { remote, embedder, model: embedder.find('remote/words', 'feature-extraction') };
}

describe('a model', () => {
  it('is the one of the backend that has it', () => {
    const { embedder, model } = start();
    expect(model).toMatchObject({ name: 'remote/words', server: 'elsewhere' });
    expect(embedder.find('all-MiniLM-L6-v2')).toHaveProperty('onnxPath');
    expect(() => embedder.find('remote/other')).toThrow(/remote\/other/);
    expect(embedder.tokenizer(model).count('a b c')).toBe(3);
  });

  it('runs where it is, in batches as that backend plans them', async () => {
    const { embedder, remote, model } = start();
    const texts = ['one', 'two words', 'three', 'four', 'five', 'six'];
    const told: number[] = [];
    const vectors = await embedder.embedTexts(model, texts, {
      prompt: 'p: ',
      onBatch: (done) => told.push(...done.map(({ place }) => place)),
    });
    expect(vectors).toEqual(texts.map((text) => fakeVector(`p: ${text}`)));
    expect(remote.sent.map(({ texts }) => texts.length)).toEqual([4, 2]);
    expect(remote.sent[0]!.texts[0]).toBe('p: two words');
    expect(told.sort()).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('that gives vectors finds the nearest of several labels, too', async () => {
    const { embedder, model } = start();
    const similarity = {
      ...{ name: model.name, licence: null, maxTokens: 16 },
      ...{ task: 'zero-shot-classification' as const, vectors: model },
    };
    const [result] = await embedder.labelTexts(similarity, ['a'], {
      labels: ['x', 'y'],
      hypothesis_template: '{}',
    });
    expect(Object.keys((result as { detail: object }).detail).sort()).toEqual(['x', 'y']);
  });
});

describe('a vector that is cut', () => {
  it('is scaled where the session scales', async () => {
    const { embedder, model } = start();
    const [scaled] = await embedder.embedTexts(model, ['a'], { dimensions: 2 });
    expect(Math.hypot(...(scaled as Float32Array))).toBeCloseTo(1);
    const [raw] = await embedder.embedTexts(model, ['a'], { dimensions: 2, normalize: false });
    expect(raw).toEqual(fakeVector('a').slice(0, 2));
  });
});

describe('an error', () => {
  it('of one text is its alone: the batch is halved', async () => {
    const { embedder, remote, model } = start();
    remote.refuse = (texts) => (texts.includes('bad') ? new EngineError('run', 'refused') : undefined);
    const results = await embedder.embedTexts(model, ['a', 'bad', 'c', 'd']);
    expect(results.map((result) => (result instanceof EngineError ? result.kind : 'vector'))).toEqual([
      'vector',
      'run',
      'vector',
      'vector',
    ]);
  });

  it('of nobody is thrown as it is, with the time to wait for', async () => {
    const { embedder, remote, model } = start();
    const until = Date.now() + 60_000;
    remote.refuse = () => new EngineError('later', 'too many requests', { until });
    await expect(embedder.embedTexts(model, ['a', 'b'])).rejects.toMatchObject({ kind: 'later', until });
    expect(remote.sent).toHaveLength(1);
  });
});

describe('texts that may be given in one call', () => {
  it('are those of the same session whose results are finished alike', () => {
    const { embedder, model } = start();
    const key = (options: object) => embedder.callKey(model, options);
    expect(key({ dimensions: 8 })).toBe(key({ dimensions: 8, pooling: undefined, onBatch() {} }));
    expect(key({ dimensions: 8 })).not.toBe(key({ dimensions: 4 }));
    expect(key({})).not.toBe(key({ normalize: false }));
    const local = embedder.find('all-MiniLM-L6-v2', 'feature-extraction');
    expect(embedder.callKey(local, {})).toBe(embedder.callKey(local, { pooling: 'mean' }));
    expect(embedder.callKey(local, {})).not.toBe(embedder.callKey(local, { pooling: 'cls' }));
  });
});
