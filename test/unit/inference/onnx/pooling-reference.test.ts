import { join } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { describe, expect, it } from 'vitest';
import { cpu } from '../../../../src/inference/devices/device.ts';
import { ModelSession } from '../../../../src/inference/process/model-session.ts';
import type { VectorSpec } from '../../../../src/inference/wire/session-spec.ts';
import { POOLINGS, type Pooling } from '../../../../src/model-files/description.ts';
import { packageRoot } from '../../../../src/package-root.ts';
import { extraModels, hasExtraModels } from '../golden.ts';

/** sentence-transformers' Pooling (sentence_transformer/modules/pooling.py, 6.2) for the tokens of one row. */
const reference: Record<Pooling, (tokens: number[][]) => number[]> = {
  mean: (tokens) => sum(tokens).map((each) => each / tokens.length),
  cls: (tokens) => tokens[0]!,
  last: (tokens) => tokens.at(-1)!,
  max: (tokens) => tokens[0]!.map((_, place) => Math.max(...tokens.map((token) => token[place]!))),
  mean_sqrt_len: (tokens) => sum(tokens).map((each) => each / Math.sqrt(tokens.length)),
  weighted_mean: (tokens) => {
    const weighted = tokens.map((token, index) => token.map((each) => each * (index + 1)));
    return sum(weighted).map((each) => each / ((tokens.length * (tokens.length + 1)) / 2));
  },
};

function sum(tokens: number[][]): number[] {
  return tokens[0]!.map((_, place) => tokens.reduce((total, token) => total + token[place]!, 0));
}

const rows = [
  [101, 7592, 102],
  [101, 2023, 2003, 1037, 2062, 6251, 102],
  [101, 102],
  [101, 4937, 1998, 3899, 102],
];
const longest = Math.max(...rows.map((row) => row.length));

/** The token vectors of the rows as the file gives them, without padding. */
async function tokenVectors(onnxPath: string, output: string): Promise<number[][][]> {
  const session = await InferenceSession.create(onnxPath);
  const int64 = (fill: (row: number[], column: number) => number) =>
    new Tensor(
      'int64',
      BigInt64Array.from(
        rows.flatMap((row) => Array.from({ length: longest }, (_, column) => BigInt(fill(row, column)))),
      ),
      [rows.length, longest],
    );
  const results = await session.run(
    {
      input_ids: int64((row, column) => row[column] ?? 0),
      attention_mask: int64((row, column) => (column < row.length ? 1 : 0)),
      token_type_ids: int64(() => 0),
    },
    [output],
  );
  const data = results[output]!.data as Float32Array;
  const size = data.length / rows.length / longest;
  return rows.map((row, index) =>
    row.map((_, column) => {
      const from = (index * longest + column) * size;
      return Array.from(data.subarray(from, from + size));
    }),
  );
}

async function compare(onnxPath: string, output: string, pooling: Pooling): Promise<void> {
  const tokens = await tokenVectors(onnxPath, output);
  const dimensions = tokens[0]![0]!.length;
  const spec: VectorSpec = {
    key: onnxPath,
    model: 'reference',
    onnxPath,
    variant: 'fp32' as const,
    expectedSha256: null,
    output: 'vector',
    pooling,
    usePooledOutput: true,
    steps: [],
    normalize: false,
    dimensions,
    padTokenId: 0,
  };
  const session = await ModelSession.load(spec, { device: cpu, threads: 1, spinning: false });
  const { values, notFinite } = await session.run(
    {
      lengths: Int32Array.from(rows, (row) => row.length),
      ids: Int32Array.from(rows.flat()),
      secondFrom: null,
    },
    false,
  );
  expect(notFinite).toEqual([]);
  rows.forEach((_, row) => {
    const given = Array.from(values.subarray(row * dimensions, (row + 1) * dimensions));
    const wanted = reference[pooling](tokens[row]!);
    const worst = Math.max(...given.map((each, place) => Math.abs(each - wanted[place]!)));
    expect(worst).toBeLessThan(1e-5);
  });
}

describe('pooling in the graph is that of the reference', () => {
  const tiny = join(packageRoot, 'test', 'fixtures', 'models', 'tiny-random-ner', 'onnx', 'model.onnx');

  // A graph of transformers' export, fp32; its token vectors are the logits of its seven labels.
  it.each(POOLINGS)('%s of a small model', (pooling) => compare(tiny, 'logits', pooling));

  it.skipIf(!hasExtraModels).each(POOLINGS)('%s of a real model', (pooling) =>
    compare(
      join(extraModels, 'Xenova', 'all-MiniLM-L6-v2', 'onnx', 'model_quantized.onnx'),
      'last_hidden_state',
      pooling,
    ),
  );
});
