import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { runIsolated } from '../../../src/inference/batches/isolate.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { tinySpec } from '../../unit/inference/tiny-model.ts';
import { copyOfBundledModel, exits, faultyEntry, hangs, refuses, startEngine } from './support.ts';

const wide = () => tinySpec({ table: Array.from({ length: 2100 }, (_, id) => [id, 1, 0]) });
/** The row's first number (the token id, see `wide`) or the kind of its error. */
const short = (result: Float32Array | EngineError) =>
  result instanceof EngineError ? result.kind : result[0];

describe('one bad row among good ones', () => {
  it.each([
    ['ends the process', exits, 'died', {}],
    ['is refused', refuses, 'run', {}],
    ['does not exist', 5_000_000, 'run', {}],
    ['hangs', hangs, 'timeout', { runTimeoutMs: 2_000 }],
  ])('that %s is the only one without a vector', async (_, bad, kind, options) => {
    const { engine } = startEngine({ entry: faultyEntry('faulty'), ...options });
    const ids = [10, 11, 12, 13, 14, bad, 16, 17, 18];
    const results = await runIsolated(
      engine,
      wide(),
      ids.map((id) => Int32Array.of(id)),
    );
    expect(results.map(short)).toEqual([10, 11, 12, 13, 14, kind, 16, 17, 18]);
  });

  it('that ends the process ends it once for each half that it is in', async () => {
    const { engine } = startEngine({ engines: 1, entry: faultyEntry('faulty') });
    let deaths = 0;
    engine.on('died', () => deaths++);
    const ids = [1, 2, 3, exits, 5, 6, 7, 8];
    const results = await runIsolated(
      engine,
      wide(),
      ids.map((id) => Int32Array.of(id)),
    );
    expect(results.map(short)).toEqual([1, 2, 3, 'died', 5, 6, 7, 8]);
    // Of 8 rows, 4, 2 and 1.
    expect(deaths).toBe(4);
  });

  it('may be several, of several kinds', async () => {
    const { engine } = startEngine({ entry: faultyEntry('faulty') });
    const ids = [exits, 1, refuses, 2, 3, exits];
    const results = await runIsolated(
      engine,
      wide(),
      ids.map((id) => Int32Array.of(id)),
    );
    expect(results.map(short)).toEqual(['died', 1, 'run', 2, 3, 'died']);
  });

  it('does not harm the batches beside it', async () => {
    const { engine } = startEngine({ entry: faultyEntry('faulty') });
    const spec = wide();
    const batches = [
      [1, exits],
      [2, 3],
      [4, 5],
    ].map((ids) =>
      runIsolated(
        engine,
        spec,
        ids.map((id) => Int32Array.of(id)),
      ),
    );
    expect((await Promise.all(batches)).map((results) => results.map(short))).toEqual([
      [1, 'died'],
      [2, 3],
      [4, 5],
    ]);
  });

  it('with NaN is the only one without a vector', async () => {
    const { engine } = startEngine();
    const spec = tinySpec({
      table: [
        [1, 1, 1],
        [Number.NaN, 0, 0],
      ],
    });
    const results = await runIsolated(engine, spec, [Int32Array.of(0), Int32Array.of(1), Int32Array.of(0)]);
    expect(results.map(short)).toEqual([1, 'not-finite', 1]);
  });
});

describe('an error that is no row’s fault', () => {
  it('is thrown and not blamed on the rows', async () => {
    const { engine } = startEngine();
    await expect(
      runIsolated(engine, { ...wide(), onnxPath: '/nowhere/model.onnx' }, [
        Int32Array.of(1),
        Int32Array.of(2),
      ]),
    ).rejects.toMatchObject({ kind: 'load' });
    await engine.stop();
    await expect(runIsolated(engine, wide(), [Int32Array.of(1)])).rejects.toMatchObject({ kind: 'stopped' });
  });
});

describe('embedTexts', () => {
  it('gives results in the order of the texts, and batch by batch', async () => {
    const { engine } = startEngine();
    const embedder = new Embedder({ engine, tokenBudget: 64 });
    const model = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction');
    const texts = Array.from({ length: 40 }, (_, index) => 'cat '.repeat(1 + ((index * 7) % 30)));
    const seen = new Map<number, unknown>();
    const results = await embedder.embedTexts(model, ['', ...texts], {
      onBatch: (done) => {
        for (const { place, result } of done) {
          expect(seen.has(place)).toBe(false);
          seen.set(place, result);
        }
      },
    });
    expect(results).toHaveLength(41);
    expect(results.every((result, place) => result === seen.get(place))).toBe(true);
    expect(results.every((result) => result instanceof Float32Array && result.length === 384)).toBe(true);
    expect(await embedder.embedTexts(model, [])).toEqual([]);
  });

  it('puts the prompt before each text', async () => {
    const { engine } = startEngine();
    const embedder = new Embedder({ engine });
    const model = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction');
    const [prompted] = await embedder.embedTexts(model, ['cats'], { prompt: 'about ' });
    const [written] = await embedder.embedTexts(model, ['about cats']);
    expect(prompted).toEqual(written);
  });

  it('finds the one text of 100 that the real model refuses', async () => {
    const { folder, directory } = copyOfBundledModel();
    const path = join(directory, 'tokenizer.json');
    const tokenizer = JSON.parse(readFileSync(path, 'utf8'));
    // An id beyond the vocabulary, so that ONNX Runtime fails to look its vector up.
    tokenizer.added_tokens.push({
      ...tokenizer.added_tokens[0],
      id: 999_999,
      content: 'poison',
      special: false,
    });
    writeFileSync(path, JSON.stringify(tokenizer));
    const { engine, log } = startEngine();
    const embedder = new Embedder({ engine });
    const texts = Array.from(
      { length: 100 },
      (_, index) => `text number ${index}${index === 42 ? ' with poison' : ''}`,
    );
    const model = createModelStore({ directories: [folder] }).find('all-MiniLM-L6-v2', 'feature-extraction');
    const results = await embedder.embedTexts(model, texts);
    expect(results.flatMap((result, index) => (result instanceof EngineError ? [index] : []))).toEqual([42]);
    expect(results[42]).toMatchObject({ kind: 'run', message: expect.stringMatching(/999999/) });
    await engine.stop();
    expect(log.join()).not.toMatch(/text number|with poison/);
  });
});
