import { expect, it } from 'vitest';
import { createEmbedder } from '../../src/index.ts';
import { unpackMatrix } from '../support/matrix.ts';
import { silent } from '../support/pgembedder.ts';
import { isPlain, run, runJson } from './cli.ts';

const { directory, cases } = unpackMatrix();
const env = { PGEMBEDDER_MODELS_DIR: directory };
const MODEL = 'matrix/reranker-xlmr';
const { texts, queries } = cases.find(({ name }) => name === 'reranker-xlmr-pairs')!;
const { query, scores, raw } = queries![1]!;
const some = [5, 9, 20, 33];
const given = some.map((place) => texts![place]!);
const best = (by: readonly number[]) => some.map((place) => by[place]!).sort((a, b) => b - a);

it('prints texts in the order of their scores', async () => {
  const args = ['rerank', query, ...given];
  const found = await runJson<{ model: string; texts: { place: number; score: number; text: string }[] }>(
    [...args, '--model', MODEL],
    { env },
  );
  expect(found.model).toBe(MODEL);
  for (const [number, score] of best(scores).entries())
    expect(found.texts[number]!.score).toBeCloseTo(score, 4);
  for (const { place, text } of found.texts) expect(text).toBe(given[place - 1]);
  const unbound = await runJson<typeof found>([...args, '--raw-scores'], {
    env: { ...env, PGEMBEDDER_MODEL_TEXT_RANKING: MODEL },
  });
  expect(unbound.texts[0]!.score).toBeCloseTo(best(raw)[0]!, 4);
  const { stdout } = await run([...args, '--model', MODEL], { env });
  expect(isPlain(stdout)).toBe(true);
  expect(stdout.split('\n').slice(0, 2)).toEqual([
    ' score  place  text',
    expect.stringMatching(/^0\.\d{4} {6}\d {2}/),
  ]);
});

it('says which models do that', async () => {
  const none = await run(['rerank', 'a', 'b'], { env });
  expect(none).toMatchObject({ code: 2, stdout: '' });
  expect(none.stderr).toContain('no model for text-ranking is named');
  const other = await run(['rerank', 'a', 'b', '--model', 'all-MiniLM-L6-v2'], { env });
  expect(other.code).toBe(1);
  expect(other.stderr).toContain("Model 'all-MiniLM-L6-v2' is for feature-extraction, not for text-ranking");
});

it('so does the library', async () => {
  const models = await createEmbedder({ modelDirectories: [directory], device: 'cpu', logger: silent });
  try {
    const found = await models.rerank(MODEL, query, given);
    expect(found.map(({ score }) => score)).toEqual(best(scores).map((score) => expect.closeTo(score, 4)));
    expect(found.map(({ index }) => index).sort()).toEqual([0, 1, 2, 3]);
    // With its one label it classifies as well.
    expect(await models.classify(MODEL, ['a'])).toMatchObject([{ label: 'LABEL_0' }]);
  } finally {
    await models.close();
  }
});
