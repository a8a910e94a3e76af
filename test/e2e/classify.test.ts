import { describe, expect, it } from 'vitest';
import { tinyModelsFolder } from '../support/tiny-models.ts';
import { goldenLabels } from '../unit/inference/golden.ts';
import { isPlain, run, runJson } from './cli.ts';

const env = { PGEMBEDDER_MODELS_DIR: tinyModelsFolder() };

describe('classify', () => {
  it("prints a model's own labels", async () => {
    const { text, softmax } = goldenLabels('text-classification.multilabel')[0]!;
    const args = ['classify', text, '--model', 'pgembedder/tiny-random-multilabel'];
    const result = await runJson<{ score: number; detail: Record<string, number> }>(args, { env });
    expect(result).toMatchObject({
      model: 'pgembedder/tiny-random-multilabel',
      task: 'text-classification',
      label: Object.keys(softmax)[0],
    });
    expect(result.score).toBeCloseTo(Object.values(softmax)[0]!, 4);
    expect(Object.keys(result.detail)).toEqual(Object.keys(softmax));
    const { stdout } = await run([...args, '--top-k', '1'], { env });
    expect(stdout).toBe(' score  label\n0.9931  toxic\n');
  });

  it('chooses among labels of the user', async () => {
    const { text, labels, hypothesis_template, result } = goldenLabels('zero-shot-classification').find(
      (row) => !row.multi_label && row.labels.includes('food, drink') && row.labels.length > 1,
    )!;
    const plain = labels.filter((label) => !label.includes(','));
    const args = ['--labels', plain.join(', '), '--label', 'food, drink'];
    const given = await runJson<{ detail: Record<string, number> }>(
      [
        'classify',
        text,
        '--model',
        'pgembedder/tiny-random-nli',
        '--hypothesis-template',
        hypothesis_template,
        ...args,
      ],
      { env },
    );
    expect(Object.keys(given.detail)).toEqual(result.labels);
    Object.values(given.detail).forEach((score, index) => {
      expect(score).toBeCloseTo(result.scores[index]!, 4);
    });
  });

  it('chooses by vectors with a model that has no labels', async () => {
    const args = ['classify', 'The keeper saved the last penalty', '--model', 'all-MiniLM-L6-v2'];
    const labels = ['--labels', 'music,sport', '--label', 'food, drink'];
    const given = await runJson<{ detail: Record<string, number> }>([...args, ...labels]);
    expect(given).toMatchObject({ task: 'zero-shot-classification', label: 'sport' });
    expect(Object.keys(given.detail).sort()).toEqual(['food, drink', 'music', 'sport']);
  });

  it('finds entities', async () => {
    const args = ['classify', '東京 is in Japan', '--model', 'pgembedder/tiny-random-ner'];
    const found = await runJson<{ label: null; detail: object[] }>(
      [...args, '--aggregation-strategy', 'none'],
      { env },
    );
    expect(found.label).toBeNull();
    expect(found.detail[0]).toMatchObject({ entity: expect.any(String), word: '東', start: 0, end: 1 });
    const { stdout } = await run(args, { env });
    expect(stdout).toMatch(/^start {2}end {2}entity +score {2}word\n/);
    expect(isPlain(stdout)).toBe(true);
  });

  it.each([
    ['zero-shot without labels', ['tiny-random-nli'], 2, /labels has to be a list of one or more texts/],
    ['labels for another task', ['tiny-random-ner', '--labels', 'a'], 2, /"labels".*aggregation_strategy/],
    ['a count that is none', ['tiny-random-multilabel', '--top-k', 'x'], 2, /top_k/],
    [
      'a model that gives vectors',
      ['all-MiniLM-L6-v2'],
      1,
      /gives no labels\. Name the labels.+ --labels; pgembedder embed/,
    ],
  ])('%s is one line', async (_, [model, ...flags], code, message) => {
    const result = await run(['classify', 'x', '--model', `pgembedder/${model}`, ...flags], { env });
    expect(result.code).toBe(code);
    expect(result.stderr).toMatch(/^pgembedder: .+\n$/);
    expect(result.stderr).toMatch(message);
  });
});
