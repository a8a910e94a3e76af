import { dirname } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cpu } from '../../../../src/inference/devices/device.ts';
import { noDivisor } from '../../../../src/inference/onnx/graph-appendix.ts';
import { readOutline } from '../../../../src/inference/onnx/onnx-outline.ts';
import { planPooling, pooledOutput } from '../../../../src/inference/onnx/pooled-graph.ts';
import { ModelSession } from '../../../../src/inference/process/model-session.ts';
import type { VectorSpec } from '../../../../src/inference/wire/session-spec.ts';
import type { Pooling } from '../../../../src/model-files/description.ts';
import { type TinyModel, tinyModel, tinySpec } from '../tiny-model.ts';

const settings = { device: cpu, threads: 1, spinning: false };

const batch = (...rows: number[][]) => ({
  lengths: Int32Array.from(rows, (ids) => ids.length),
  ids: Int32Array.from(rows.flat()),
  secondFrom: null,
});

/** Rows of one and three tokens, so that the first is padded. */
async function vectors(model: TinyModel, spec: Partial<VectorSpec> = {}): Promise<number[][]> {
  const full = tinySpec(model, spec);
  const session = await ModelSession.load(full, settings);
  const { values: all } = await session.run(batch([3], [1, 2, 2]), full.normalize);
  return [Array.from(all.subarray(0, 3)), Array.from(all.subarray(3))];
}

describe('readOutline', () => {
  it('tells the operator set, inputs and outputs', () => {
    expect(readOutline(tinyModel({ opset: 12, finished: true }))).toEqual({
      opset: 12,
      int8: false,
      externalFiles: [],
      inputs: [
        { name: 'input_ids', elementType: 7, shape: [null, null] },
        { name: 'attention_mask', elementType: 7, shape: [null, null] },
      ],
      outputs: [
        { name: 'last_hidden_state', elementType: 1, shape: [null, null, null] },
        { name: 'sentence_embedding', elementType: 1, shape: [null, null] },
      ],
    });
  });

  it('sees weights in a second file', () => {
    expect(readOutline(tinyModel({ externalFile: 'table.bin' })).externalFiles).toEqual(['table.bin']);
  });

  it.each([
    ['nothing', Buffer.alloc(0)],
    ['text', Buffer.from('<!doctype html>')],
    ['a file cut short', tinyModel().subarray(0, 60)],
  ])('refuses %s', (_, bytes) => {
    expect(() => readOutline(bytes)).toThrow();
  });
});

describe('planPooling', () => {
  it('adds nothing to a model that pools by itself', () => {
    const outline = readOutline(tinyModel({ finished: true }));
    expect(planPooling(outline, 'mean', true)).toEqual({
      appendix: null,
      output: 'sentence_embedding',
      finished: true,
      divisor: noDivisor,
    });
    const { output, divisor } = planPooling(outline, 'mean', false);
    expect([output, divisor(3)]).toEqual([pooledOutput, 3]);
  });

  it('says so when a finished vector cannot be undone', () => {
    const outline = readOutline(tinyModel({ finished: true, withoutTokens: true }));
    expect(() => planPooling(outline, 'cls', false)).toThrow(/pooling and normalization cannot be changed/);
  });

  it('does not take a pooler_output for the vector', () => {
    const outline = readOutline(tinyModel());
    const pooler = { name: 'pooler_output', elementType: 1, shape: [null, 3] };
    const plan = planPooling({ ...outline, outputs: [pooler, ...outline.outputs] }, 'mean', true);
    expect(plan.output).toBe(pooledOutput);
  });

  it('adds a few hundred bytes', () => {
    expect(planPooling(readOutline(tinyModel()), 'mean', true).appendix!.length).toBeLessThan(500);
  });
});

describe('the graph with pooling', () => {
  it.each([11, 12, 13, 17])(
    'gives the mean of the tokens that are not padding, operator set %i',
    async (opset) => {
      expect(await vectors({ opset })).toEqual([
        [0, 0, -5],
        [2, expect.closeTo(10 / 3, 6), 0],
      ]);
    },
  );

  it.each([11, 13])('gives the first token, operator set %i', async (opset) => {
    expect(await vectors({ opset }, { pooling: 'cls' })).toEqual([
      [0, 0, -5],
      [0, 2, 0],
    ]);
  });

  // Of the rows 3 and 1, 2, 2 of the table: the numbers are told by hand, the masked ones being of token 0 (1, 0, 0).
  const second: Record<string, number[]> = {
    last: [3, 4, 0],
    max: [3, 4, 0],
    mean_sqrt_len: [6 / Math.sqrt(3), 10 / Math.sqrt(3), 0],
    weighted_mean: [(2 * 3 + 3 * 3) / 6, (2 + 2 * 4 + 3 * 4) / 6, 0],
  };
  const exported = [11, 12, 13, 14, 15, 17, 18, 20, 21];
  const cases = Object.keys(second).flatMap((pooling) =>
    exported.flatMap((opset) => [false, true].map((half) => ({ pooling: pooling as Pooling, opset, half }))),
  );
  it.each(cases)(
    'gives $pooling of the tokens that are not padding, operator set $opset, float16 $half',
    async ({ pooling, opset, half }) => {
      const [padded, full] = await vectors({ opset, half }, { pooling });
      // Token 3 alone, largest included: padding is 1, 0, 0 there.
      expect(padded).toEqual([0, 0, -5]);
      expect(full).toEqual(second[pooling]!.map((each) => expect.closeTo(each, 5)));
    },
  );

  it('takes the last token of each row, not of the batch', async () => {
    const spec = tinySpec({}, { pooling: 'last' });
    const session = await ModelSession.load(spec, settings);
    const { values } = await session.run(batch([1], [0, 3, 2, 1], [1, 2], [2, 2, 3]), false);
    expect([...values]).toEqual([0, 2, 0, 0, 2, 0, 3, 4, 0, 0, 0, -5]);
  });

  it('takes the largest where all are below 0', async () => {
    const table = [
      [9, 9, 9],
      [-1, -2e30, -3],
      [-4, -1e30, -6],
    ];
    const spec = tinySpec({ table }, { pooling: 'max' });
    const session = await ModelSession.load(spec, settings);
    // The first is padded with token 0.
    const { values } = await session.run(batch([1], [1, 2]), false);
    expect([...values]).toEqual([-1, Math.fround(-2e30), -3, -1, Math.fround(-1e30), -3]);
  });

  it.each([7, 8, 9, 10])('has mean, first token and largest in operator set %i', async (opset) => {
    expect((await vectors({ opset }, { pooling: 'mean' }))[1]).toEqual([2, expect.closeTo(10 / 3, 6), 0]);
    expect((await vectors({ opset }, { pooling: 'cls' }))[1]).toEqual([0, 2, 0]);
    expect((await vectors({ opset }, { pooling: 'max' }))[1]).toEqual([3, 4, 0]);
    await expect(vectors({ opset }, { pooling: 'last' })).rejects.toThrow(
      `last pooling needs operator set 11, and it has ${opset}`,
    );
  });

  it('gives a model that asks for them the places of the tokens', async () => {
    // Its table is looked up by place here.
    const inputs = ['input_ids', 'attention_mask', 'position_ids'];
    const spec = tinySpec({ inputs, lookup: 'position_ids' }, { pooling: 'last' });
    const session = await ModelSession.load(spec, settings);
    const { values } = await session.run(batch([9], [9, 9, 9]), false);
    expect([...values]).toEqual([1, 0, 0, 3, 4, 0]);
  });

  it('scales to length 1', async () => {
    const length = Math.hypot(6, 10);
    expect(await vectors({}, { normalize: true })).toEqual([
      [0, 0, -1],
      [expect.closeTo(6 / length, 6), expect.closeTo(10 / length, 6), 0],
    ]);
  });

  it('sums float16 vectors in float32', async () => {
    expect((await vectors({ half: true }))[1]).toEqual([2, expect.closeTo(10 / 3, 6), 0]);
    expect((await vectors({ half: true }, { pooling: 'cls' }))[1]).toEqual([0, 2, 0]);
  });

  it('takes the vector of a model that pools by itself', async () => {
    const [, second] = await vectors({ finished: true });
    expect(second).toEqual([3, 4, 0]);
    expect((await vectors({ finished: true }, { usePooledOutput: false }))[1]![0]).toBe(2);
  });

  it('finds weights in a second file beside the model', async () => {
    const spec = tinySpec({ externalFile: 'table.bin' });
    expect(dirname(spec.onnxPath)).not.toBe(process.cwd());
    const session = await ModelSession.load(spec, settings);
    expect([...(await session.run(batch([2]), spec.normalize)).values]).toEqual([3, 4, 0]);
  });

  it('names the rows without a usable vector', async () => {
    const table = [
      [Number.NaN, 0, 0],
      [1, 1, 1],
      [0, 0, 0],
      [Number.POSITIVE_INFINITY, 0, 0],
    ];
    const spec = tinySpec({ table }, { padTokenId: 1 });
    const session = await ModelSession.load(spec, settings);
    const four = batch([0], [1], [2], [3]);
    expect((await session.run(four, true)).notFinite).toEqual([0, 2, 3]);
    expect((await session.run(four, false)).notFinite).toEqual([0, 3]);
  });
});

describe('a model that cannot be loaded', () => {
  it.each<[string, TinyModel, Partial<VectorSpec>, RegExp]>([
    ['has other dimensions', {}, { dimensions: 384 }, /gives 3 dimensions where 384 are expected/],
    [
      'has another checksum',
      {},
      { expectedSha256: 'ab'.repeat(32) },
      /is damaged: its SHA-256 is [0-9a-f]{64}/,
    ],
    [
      'wants another input',
      { inputs: ['input_ids', 'attention_mask', 'pixels'] },
      {},
      /asks for the input pixels/,
    ],
    [
      'is a decoder with a memory of another shape',
      { inputs: ['input_ids', 'attention_mask', 'position_ids', 'past_key_values.0.key'] },
      {},
      /has the input past_key_values.0.key in a shape that pgembedder does not know/,
    ],
    ['takes no mask', { inputs: ['input_ids'], finished: true }, {}, /takes no attention_mask/],
    ['is not there', {}, { onnxPath: '/nowhere/model.onnx' }, /nowhere\/model.onnx cannot be read/],
  ])('%s', async (_, model, spec, message) => {
    await expect(ModelSession.load(tinySpec(model, spec), settings)).rejects.toMatchObject({
      name: 'EngineError',
      kind: 'load',
      message: expect.stringMatching(message),
    });
  });
});
