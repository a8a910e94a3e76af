import { expect, it } from 'vitest';
import type { Device } from '../../../src/inference/devices/device.ts';
import { resolveDevice } from '../../../src/inference/devices/resolve-device.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import { logitsSpec } from '../../../src/inference/engine/session-spec.ts';
import { createModelStore } from '../../../src/models/store.ts';
import type { Entity, LabelResult } from '../../../src/tasks/results.ts';
import { useSoftwareVulkan } from '../../support/software-vulkan.ts';
import { tinyModelsFolder } from '../../support/tiny-models.ts';
import {
  cosine,
  extraModels,
  goldenLabels,
  goldenRows,
  hasExtraModels,
} from '../../unit/inference/golden.ts';
import { row, startEngine } from './support.ts';

/**
 * The WebGPU provider on a Vulkan that the CPU plays: the kernels and the numbers of a real GPU at a hundredth of its
 * speed. So a dozen short rows have to do.
 */
const thereIsVulkan = await useSoftwareVulkan();
const test = it.skipIf(!thereIsVulkan);
const webgpu: Device = { kind: 'webgpu', index: 0, half: false, named: true };
const timeout = 240_000;

const store = createModelStore({ directories: [tinyModelsFolder(), extraModels] });

function openEmbedder(): Embedder {
  return new Embedder({ engine: startEngine({ device: webgpu }).engine });
}

/** Largest difference of scores to the reference, whatever their order. */
function worstDifference(results: readonly unknown[], expected: readonly Record<string, number>[]): number {
  return Math.max(
    ...expected.flatMap((scores, index) => {
      const { detail } = results[index] as LabelResult;
      return Object.entries(scores).map(([label, score]) =>
        Math.abs((detail as Record<string, number>)[label]! - score),
      );
    }),
  );
}

/** Cosines to the reference's vectors of some short rows, in one batch. */
async function cosines(model: string, golden: 'minilm' | 'bge-small'): Promise<number[]> {
  const rows = goldenRows(golden)
    .filter(({ text, ids }) => text.trim() !== '' && ids.length <= 14)
    .slice(-10);
  const texts = rows.map(({ text }) => text);
  const results = await openEmbedder().embedTexts(store.find(model, 'feature-extraction'), texts);
  return rows.map(({ vector }, index) => cosine(results[index] as Float32Array, vector));
}

const mean = (numbers: number[]) => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;

test(
  'the bundled model, int8, gives the vectors of the reference',
  async () => {
    const found = await cosines('all-MiniLM-L6-v2', 'minilm');
    expect(Math.min(...found)).toBeGreaterThanOrEqual(0.99);
    expect(mean(found)).toBeGreaterThanOrEqual(0.997);
  },
  timeout,
);

it.skipIf(!thereIsVulkan || !hasExtraModels)(
  'bge-small, int8, with CLS pooling added, gives the vectors of the reference',
  async () => {
    const found = await cosines('Xenova/bge-small-en-v1.5', 'bge-small');
    expect(Math.min(...found)).toBeGreaterThanOrEqual(0.99);
  },
  timeout,
);

test(
  'a classification model in float32 gives the scores of the reference',
  async () => {
    const rows = goldenLabels('text-classification.multilabel').slice(0, 12);
    const model = store.find('pgembedder/tiny-random-multilabel', 'text-classification');
    const texts = rows.map(({ text }) => text);
    const embedder = openEmbedder();
    const softmax = await embedder.labelTexts(model, texts);
    expect(
      worstDifference(
        softmax,
        rows.map((each) => each.softmax),
      ),
    ).toBeLessThan(1e-4);
    const sigmoid = await embedder.labelTexts(model, texts, { multi_label: true });
    expect(
      worstDifference(
        sigmoid,
        rows.map((each) => each.sigmoid),
      ),
    ).toBeLessThan(1e-4);
  },
  timeout,
);

test(
  'a model for pairs of texts in float32 gives the scores of the reference',
  async () => {
    const rows = goldenLabels('zero-shot-classification').slice(0, 2);
    const model = store.find('pgembedder/tiny-random-nli', 'zero-shot-classification');
    const embedder = openEmbedder();
    for (const { text, result, ...options } of rows) {
      const expected = Object.fromEntries(result.labels.map((name, index) => [name, result.scores[index]!]));
      const given = await embedder.labelTexts(model, [text], options);
      expect(worstDifference(given, [expected])).toBeLessThan(1e-4);
    }
  },
  timeout,
);

test(
  'a model for the tokens of a text in float32 gives the scores of the reference',
  async () => {
    const rows = goldenLabels('token-classification')
      .filter((each) => each.aggregation_strategy === 'none')
      .slice(0, 4);
    const model = store.find('pgembedder/tiny-random-ner', 'token-classification');
    const texts = rows.map(({ text }) => text);
    const results = await openEmbedder().labelTexts(model, texts, { aggregation_strategy: 'none' });
    rows.forEach(({ entities }, index) => {
      const found = (results[index] as LabelResult).detail as readonly Entity[];
      expect(found.map(({ word, start, end }) => ({ word, start, end }))).toEqual(
        entities.map(({ word, start, end }) => ({ word, start, end })),
      );
      entities.forEach(({ score }, each) => {
        expect(Math.abs(found[each]!.score - score)).toBeLessThan(1e-4);
      });
    });
  },
  timeout,
);

test(
  'a model in float16 is refused where the device has no float16, and in float16 runs on the CPU',
  async () => {
    const model = store.find('pgembedder/tiny-random-multilabel', 'text-classification');
    const half = { ...model, onnxPath: model.onnxPath.replace('model.onnx', 'model_fp16.onnx') };
    const spec = { ...logitsSpec(half), key: 'half' };
    const { engine } = startEngine({ device: webgpu });
    await expect(engine.run(spec, [row(2023)])).rejects.toMatchObject({
      kind: 'load',
      message: expect.stringContaining('requires f16 but the device does not support it'),
    });
    const rows = goldenLabels('text-classification.multilabel').slice(0, 12);
    const onCpu = new Embedder({ engine: startEngine().engine });
    const texts = rows.map(({ text }) => text);
    const results = await onCpu.labelTexts(half, texts);
    expect(
      worstDifference(
        results,
        rows.map(({ softmax }) => softmax),
      ),
    ).toBeLessThan(1e-2);
  },
  timeout,
);

test(
  'auto does not take it for a GPU',
  async () => {
    const { device, why } = await resolveDevice('auto');
    expect(device.kind).toBe('cpu');
    expect(why).toMatch(/webgpu runs a test at 0\.\d+ times the CPU's speed, too little to gain by it/);
    expect((await resolveDevice('webgpu')).device).toEqual(webgpu);
  },
  timeout,
);
