import { describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import type { LabelModel } from '../../../src/model-files/description.ts';
import { createModelStore } from '../../../src/models/store.ts';
import type { Entity, LabelResult } from '../../../src/tasks/results.ts';
import type { TaskName } from '../../../src/tasks/tasks.ts';
import { tinyModelsFolder } from '../../support/tiny-models.ts';
import { extraModels, goldenLabels, hasExtraModels, hasVnni } from '../../unit/inference/golden.ts';
import { startEngine } from './support.ts';

const store = createModelStore({ directories: [tinyModelsFolder(), extraModels] });

/** Results of all texts in one call, in batches as the worker makes them. */
async function label(embedder: Embedder, model: LabelModel, texts: string[], options = {}) {
  const results = await embedder.labelTexts(model, texts, options);
  return results.map((result) => {
    if (result instanceof EngineError) {
      throw result;
    }
    return result;
  });
}

function openEmbedder(): Embedder {
  return new Embedder({ engine: startEngine().engine });
}

/** Checks that the labels come in the reference's order, and gives the largest difference of their scores. */
function difference({ label: best, score, detail }: LabelResult, expected: Record<string, number>): number {
  expect(Object.keys(detail)).toEqual(Object.keys(expected));
  expect({ [best!]: score }).toEqual(Object.fromEntries(Object.entries(detail).slice(0, 1)));
  return scoreDifference(detail as Record<string, number>, expected);
}

function scoreDifference(scores: Record<string, number>, expected: Record<string, number>): number {
  return Math.max(...Object.entries(expected).map(([name, each]) => Math.abs(scores[name]! - each)));
}

function find<Task extends Exclude<TaskName, 'feature-extraction'>>(name: string, task: Task) {
  return store.find(`pgembedder/${name}`, task);
}

describe('text-classification beside the reference', () => {
  it.each([
    ['softmax', {}],
    ['sigmoid', { multi_label: true }],
  ] as const)('with %s', async (activation, options) => {
    const model = find('tiny-random-multilabel', 'text-classification');
    const rows = goldenLabels('text-classification.multilabel');
    const texts = rows.map(({ text }) => text);
    const results = await label(openEmbedder(), model, texts, options);
    const worst = Math.max(...rows.map((row, index) => difference(results[index]!, row[activation])));
    expect(worst).toBeLessThan(1e-4);
  });

  it.skipIf(!hasExtraModels)('of a real model in int8, whose reference is fp32', async () => {
    const model = { ...find('minilm-spam-detector', 'text-classification'), maxTokens: 256 };
    const rows = goldenLabels('text-classification.spam');
    const results = await label(
      openEmbedder(),
      model,
      rows.map(({ text }) => text),
    );
    const differences = rows.map(({ scores }, index) => difference(results[index]!, scores));
    // What int8 changes shows where the model is in doubt, and there only.
    expect(differences.filter((each) => each < 0.02).length).toBeGreaterThanOrEqual(30);
    expect(Math.max(...differences)).toBeLessThan(hasVnni ? 0.25 : 0.45);
  });
});

describe('zero-shot-classification beside the reference', () => {
  it('with the options of each row', async () => {
    const embedder = openEmbedder();
    const model = find('tiny-random-nli', 'zero-shot-classification');
    let worst = 0;
    for (const { text, result, ...options } of goldenLabels('zero-shot-classification')) {
      const expected = Object.fromEntries(result.labels.map((name, index) => [name, result.scores[index]!]));
      const [given] = await label(embedder, model, [text], options);
      worst = Math.max(worst, difference(given!, expected));
    }
    expect(worst).toBeLessThan(1e-4);
  });

  it('with all texts at once, whatever pairs share a batch', async () => {
    const embedder = openEmbedder();
    const model = find('tiny-random-nli', 'zero-shot-classification');
    const texts = goldenLabels('zero-shot-classification').map(({ text }) => text);
    const options = { labels: ['war and peace', 'food, drink', 'the very long name of a label'] };
    const together = await label(embedder, model, texts, options);
    for (const [index, text] of texts.entries()) {
      const [alone] = await label(embedder, model, [text], options);
      expect(difference(together[index]!, alone!.detail as Record<string, number>)).toBeLessThan(1e-5);
    }
  });
});

describe('token-classification beside the reference', () => {
  it.each(['none', 'simple', 'first', 'average', 'max'])('with the strategy %s', async (strategy) => {
    const model = find('tiny-random-ner', 'token-classification');
    const rows = goldenLabels('token-classification').filter((row) => row.aggregation_strategy === strategy);
    const texts = rows.map(({ text }) => text);
    const results = await label(openEmbedder(), model, texts, { aggregation_strategy: strategy });
    let worst = 0;
    for (const [index, { text, entities }] of rows.entries()) {
      const { detail, ...rest } = results[index]!;
      expect(rest).toEqual({ label: null, score: null });
      const found = detail as readonly Entity[];
      expect(found.map(withoutScore), text).toEqual(entities.map(withoutScore));
      worst = Math.max(worst, ...entities.map(({ score }, each) => Math.abs(score - found[each]!.score)));
    }
    expect(worst).toBeLessThan(1e-4);
  });
});

/** The reference gives the token's number beside; its place says more. */
function withoutScore(entity: object) {
  return { ...entity, score: undefined, index: undefined };
}
