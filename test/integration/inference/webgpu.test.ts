import { expect, it } from 'vitest';
import type { Device } from '../../../src/inference/devices/device.ts';
import { resolveDevice } from '../../../src/inference/devices/resolve-device.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import { logitsSpec } from '../../../src/inference/session-spec.ts';
import type { LabelResult } from '../../../src/inference/tasks/label-task.ts';
import { createModelStore } from '../../../src/models/store.ts';
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
const webgpu: Device = { kind: 'webgpu', index: 0, half: false };
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

async function cosines(model: string, golden: 'minilm' | 'bge-small'): Promise<number[]> {
  const rows = goldenRows(golden)
    .filter(({ text, ids }) => text.trim() !== '' && ids.length <= 16)
    .slice(0, 12);
  expect(rows).toHaveLength(12);
  const texts = rows.map(({ text }) => text);
  const results = await openEmbedder().embedTexts(store.find(model, 'feature-extraction'), texts);
  return rows.map(({ vector }, index) => cosine(results[index] as Float32Array, vector));
}

const mean = (numbers: number[]) => numbers.reduce((sum, each) => sum + each, 0) / numbers.length;

test(
  'the bundled model, int8, gives the vectors of the reference',
  async () => {
    const found = await cosines('all-MiniLM-L6-v2', 'minilm');
    console.log(found);
    expect(Math.min(...found)).toBeGreaterThanOrEqual(0.99);
    expect(mean(found)).toBeGreaterThanOrEqual(0.997);
  },
  timeout,
);

it.skipIf(!thereIsVulkan || !hasExtraModels)(
  'bge-small, int8, with CLS pooling added, gives the vectors of the reference',
  async () => {
    const found = await cosines('Xenova/bge-small-en-v1.5', 'bge-small');
    console.log(found);
    expect(Math.min(...found)).toBeGreaterThanOrEqual(0.99);
  },
  timeout,
);

test.each([
  ['softmax', {}],
  ['sigmoid', { multi_label: true }],
] as const)(
  'a classification model in float32 gives the scores of the reference, with %s',
  async (activation, options) => {
    const rows = goldenLabels('text-classification.multilabel').slice(0, 12);
    const model = store.find('pgembedder/tiny-random-multilabel', 'text-classification');
    const results = await openEmbedder().labelTexts(
      model,
      rows.map(({ text }) => text),
      options,
    );
    const worst = worstDifference(
      results,
      rows.map((each) => each[activation]),
    );
    console.log(worst);
    expect(worst).toBeLessThan(1e-4);
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
    ).toBeLessThan(5e-3);
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
