import { expect, it } from 'vitest';
import { createEmbedder } from '../../src/index.ts';
import { unpackMatrix } from '../support/matrix.ts';
import { silent } from '../support/pgembedder.ts';
import { run } from './cli.ts';

const { directory, cases } = unpackMatrix();
const MODEL = 'matrix/splade';
const env = { PGEMBEDDER_MODELS_DIR: directory };
const { rows } = cases.find(({ name }) => name === 'splade')!;
const { text, passage } = rows.find((row) => /^[\w ,.]{10,}$/.test(row.text))!;
const wanted = passage!.flatMap((value, index) => (value > 0 ? [{ index, value }] : []));

it('embed prints a sparse vector as pgvector takes it, and in JSON', async () => {
  const { stdout } = await run(['embed', text, '--model', MODEL], { env });
  const [, pairs, dimensions] = /^\{(.*)\}\/(\d+)\n$/.exec(stdout)!;
  expect(dimensions).toBe('600');
  expect(pairs!.split(',').map((pair) => pair.split(':').map(Number))).toEqual(
    wanted.map(({ index, value }) => [index + 1, expect.closeTo(value, 4)]),
  );
  const json = await run(['embed', text, '--model', MODEL, '--json'], { env });
  const shown = {
    indices: wanted.map(({ index }) => index),
    values: wanted.map(({ value }) => expect.closeTo(value, 4)),
  };
  expect(JSON.parse(json.stdout)).toEqual({ model: MODEL, dimensions: 600, ...shown });
  const lines = await run(['embed', '--stdin', '--model', MODEL], { env, input: `${text}\n` });
  expect(JSON.parse(lines.stdout)).toEqual({ line: 1, ...shown });
});

it('embedSparse of the library keeps the largest weights; embed refuses the model in one line', async () => {
  const models = await createEmbedder({ modelDirectories: [directory], device: 'cpu', logger: silent });
  try {
    const [vector] = await models.embedSparse(MODEL, [text], { topK: 3 });
    const largest = wanted.toSorted((a, b) => b.value - a.value).slice(0, 3);
    expect([...vector!.indices]).toEqual(largest.map(({ index }) => index).sort((a, b) => a - b));
    await expect(models.embedSparse(MODEL, [text], { topK: 0 })).rejects.toThrow('topK is 0');
    await expect(models.embed(MODEL, [text])).rejects.toThrow('are sparse, and dense ones are asked for');
  } finally {
    await models.close();
  }
});
