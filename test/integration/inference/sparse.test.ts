import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { Embedder } from '../../../src/inference/embedder.ts';
import { Engine } from '../../../src/inference/engine/engine.ts';
import type { FeatureExtractionModel } from '../../../src/model-files/description.ts';
import { createModelStore } from '../../../src/models/store.ts';
import type { SparseVector } from '../../../src/sparse-vector.ts';
import { unpackMatrix } from '../../support/matrix.ts';
import { silent } from '../../support/pgembedder.ts';

/** What numpy makes of the logits of `splade`, one text a run, by pooling and activation. */
const golden = JSON.parse(
  readFileSync(new URL('../../fixtures/sparse-poolings.json', import.meta.url), 'utf8'),
) as { texts: string[]; wanted: Record<string, number[][]> };

const own = join(unpackMatrix().directory, 'matrix', 'splade');
const folder = mkdtempSync(join(tmpdir(), 'pgembedder-sparse-'));
const store = createModelStore({ directories: [folder] });
const engine = new Engine({ logger: silent, engines: 1, threads: 1 });
const embedder = new Embedder({ engine });
afterAll(async () => {
  await engine.stop();
  rmSync(folder, { recursive: true });
});

let made = 0;
/** The model with other files; null takes one away. */
function modelWith(files: Record<string, object | null>): FeatureExtractionModel {
  const name = `own/model-${++made}`;
  cpSync(own, join(folder, name), { recursive: true });
  for (const [file, content] of Object.entries(files)) {
    const path = join(folder, name, file);
    if (content) writeFileSync(path, JSON.stringify(content));
    else rmSync(path);
  }
  return store.find(name, 'feature-extraction') as FeatureExtractionModel;
}

const modules = (...names: string[]) => ({
  'modules.json': names.map((name, idx) => ({
    idx,
    name: String(idx),
    path: name === 'SpladePooling' ? '1_SpladePooling' : '',
    type: `sentence_transformers.models.${name}`,
  })),
});

async function sparse(model: FeatureExtractionModel, texts: readonly string[], topK?: number) {
  return (await embedder.embedSparse(model, texts, { topK })) as SparseVector[];
}

it.each(Object.keys(golden.wanted))('%s is as its formula has it, beside a longer text', async (both) => {
  const [pooling_strategy, activation_function] = both.split(' ');
  const model = modelWith({ '1_SpladePooling/config.json': { pooling_strategy, activation_function } });
  const vectors = await sparse(model, golden.texts);
  for (const [place, wanted] of golden.wanted[both]!.entries()) {
    const { indices, values, dimensions } = vectors[place]!;
    const found = new Array<number>(dimensions).fill(0);
    for (const [number, index] of indices.entries()) found[index] = values[number]!;
    expect(found).toHaveLength(wanted.length);
    for (const [index, value] of wanted.entries()) expect(found[index]).toBeCloseTo(value, 4);
  }
});

it('top_k keeps the largest numbers, by place', async () => {
  const model = modelWith({});
  const [all] = await sparse(model, ['a small cat']);
  const [few] = await sparse(model, ['a small cat'], 5);
  const order = [...all!.values.keys()].sort((a, b) => all!.values[b]! - all!.values[a]!).slice(0, 5);
  expect([...few!.indices]).toEqual(order.map((place) => all!.indices[place]!).sort((a, b) => a - b));
  expect(Math.min(...few!.values)).toBe(all!.values[order[4]!]);
  expect(few!.dimensions).toBe(600);
});

describe('which models have sparse vectors', () => {
  const bare = { 'modules.json': null };

  it('modules.json says it, else an architecture with a masked language model', () => {
    expect(modelWith({}).sparse).toEqual({ pooling: 'max', activation: 'relu' });
    expect(modelWith(modules('Transformer', 'SpladePooling')).sparse).toBeDefined();
    expect(modelWith({ ...bare, '1_SpladePooling/config.json': null }).sparse).toBeDefined();
    expect(modelWith(modules('Transformer', 'Pooling')).sparse).toBeUndefined();
  });

  it.each([
    [['SparseStaticEmbedding'], 'asks for the module SparseStaticEmbedding, which'],
    [['Router'], 'asks for the module Router, which'],
    [['Transformer', 'Pooling', 'SparseAutoEncoder'], 'asks for the module SparseAutoEncoder, which'],
    [
      ['MLMTransformer', 'SpladePooling', 'Normalize'],
      'the modules MLMTransformer, SpladePooling, Normalize, which',
    ],
    [['MLMTransformer', 'Pooling'], 'the modules MLMTransformer, Pooling, which'],
  ])('%s is refused by name', (names, message) => {
    expect(() => modelWith(modules(...names))).toThrow(message);
  });

  it('an activation that is not known is refused', () => {
    expect(() => modelWith({ '1_SpladePooling/config.json': { activation_function: 'gelu' } })).toThrow(
      'activation_function',
    );
  });

  it('dense vectors are not made of them', async () => {
    const model = modelWith({});
    const message = 'are sparse, and dense ones are asked for';
    await expect(embedder.embedTexts(model, ['a'])).rejects.toThrow(message);
  });
});
