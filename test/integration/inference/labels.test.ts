import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import { logitsSpec } from '../../../src/inference/engine/session-spec.ts';
import { textsAtOnce } from '../../../src/inference/labels/parts.ts';
import { limits } from '../../../src/limits.ts';
import { createModelStore } from '../../../src/models/store.ts';
import type { LabelResult } from '../../../src/tasks/results.ts';
import { tinyModelsFolder } from '../../support/tiny-models.ts';
import { row, startEngine } from './support.ts';

const store = createModelStore({ directories: [tinyModelsFolder()] });
const multilabel = store.find('pgembedder/tiny-random-multilabel', 'text-classification');
const nli = store.find('pgembedder/tiny-random-nli', 'zero-shot-classification');
const ner = store.find('pgembedder/tiny-random-ner', 'token-classification');

describe('a session of logits', () => {
  it('gives a set for each row', async () => {
    const { engine } = startEngine();
    const results = await engine.run(logitsSpec(multilabel), [row(2023), row(2023, 2003, 1037)]);
    expect(results.map((result) => result instanceof Float32Array && result.length)).toEqual([3, 3]);
  });

  it('gives a set for each token, without padding, the same alone and in a batch', async () => {
    const { engine } = startEngine();
    const rows = [row(2023), row(2023, 2003, 1037), row()];
    const together = await engine.run(logitsSpec(ner), rows);
    expect(together.map((result) => result instanceof Float32Array && result.length)).toEqual([21, 35, 14]);
    for (const [index, each] of rows.entries()) {
      const [alone] = await engine.run(logitsSpec(ner), [each]);
      (alone as Float32Array).forEach((logit, place) => {
        expect((together[index] as Float32Array)[place]).toBeCloseTo(logit, 4);
      });
    }
  });

  it.each([
    [
      'another number of labels',
      { ...multilabel, labels: ['a', 'b'] },
      /gives 3 labels where 2 are expected/,
    ],
    [
      'logits of the other kind',
      { ...ner, onnxPath: store.find(nli.name).onnxPath },
      /\(logits\) holds the logits of each token/,
    ],
  ])('of %s is an error of kind load', async (_, model, message) => {
    const { engine } = startEngine();
    await expect(engine.run(logitsSpec(model), [row(2023)])).rejects.toMatchObject({
      kind: 'load',
      message: expect.stringMatching(message),
    });
  });
});

describe('labelTexts', () => {
  it('gives results in the order of the texts, and each once as it is done', async () => {
    const embedder = new Embedder({ engine: startEngine().engine, tokenBudget: 64 });
    const texts = Array.from({ length: 30 }, (_, index) => 'cat '.repeat((index * 7) % 30));
    const seen = new Map<number, unknown>();
    const results = await embedder.labelTexts(nli, texts, {
      labels: ['a', 'a label of more than one word', 'c'],
      priority: 'interactive',
      onBatch: (done) => {
        for (const { place, result } of done) {
          expect(seen.has(place)).toBe(false);
          seen.set(place, result);
        }
      },
    });
    expect(results).toHaveLength(30);
    expect(results.every((result, place) => result === seen.get(place))).toBe(true);
    expect(await embedder.labelTexts(nli, [], { labels: ['a'] })).toEqual([]);
  });

  it('takes more texts and labels than are made ready at once', async () => {
    const embedder = new Embedder({ engine: startEngine().engine });
    const labels = Array.from({ length: 500 }, (_, index) => `l${index}`);
    const texts = Array.from({ length: 33 }, (_, index) => `cat ${index}`);
    expect(texts.length).toBeGreaterThan(textsAtOnce({ labels }));
    const seen: number[] = [];
    const options = { labels, hypothesis_template: '{}', multi_label: true, top_k: 1 };
    const results = await embedder.labelTexts(nli, texts, {
      ...options,
      onBatch: (done) => seen.push(...done.map(({ place }) => place)),
    });
    expect(seen.sort((a, b) => a - b)).toEqual([...texts.keys()]);
    const [last] = await embedder.labelTexts(nli, ['cat 32'], options);
    expect(results).toHaveLength(33);
    expect((results[32] as LabelResult).score).toBeCloseTo((last as LabelResult).score!, 4);
  });

  it('refuses too many texts of a caller who waits', async () => {
    const embedder = new Embedder({ engine: startEngine().engine });
    const texts = new Array<string>(limits.textsPerCall + 1).fill('x');
    const refused = /The call has 2,049 texts/;
    await expect(embedder.labelTexts(nli, texts, { labels: ['a'], priority: 'interactive' })).rejects.toThrow(
      refused,
    );
    const minilm = store.find('all-MiniLM-L6-v2', 'feature-extraction');
    await expect(embedder.embedTexts(minilm, texts, { priority: 'interactive' })).rejects.toThrow(refused);
  });

  it('keeps the top_k best in detail', async () => {
    const embedder = new Embedder({ engine: startEngine().engine });
    const [all] = await embedder.labelTexts(multilabel, ['woolly monkeys']);
    const [two] = await embedder.labelTexts(multilabel, ['woolly monkeys'], { top_k: 2 });
    expect(Object.entries((two as typeof two & { detail: object }).detail)).toEqual(
      Object.entries((all as typeof all & { detail: object }).detail).slice(0, 2),
    );
  });

  it('raises a UserError for options of another task', async () => {
    const embedder = new Embedder({ engine: startEngine().engine });
    await expect(embedder.labelTexts(multilabel, ['x'], { labels: ['a'] })).rejects.toThrow(/"labels"/);
    await expect(embedder.labelTexts(nli, ['x'])).rejects.toThrow(/labels has to be a list/);
  });

  it('cuts the text and never the label, and says when a label leaves no room', async () => {
    const embedder = new Embedder({ engine: startEngine().engine });
    const short = { ...nli, maxTokens: 16 };
    const options = { labels: ['music', 'sport'] };
    // [CLS] text [SEP] this example is music . [SEP]: 8 tokens of the text count.
    const [long] = await embedder.labelTexts(
      short,
      ['one two three four five six seven eight nine ten'],
      options,
    );
    const [fits] = await embedder.labelTexts(short, ['one two three four five six seven eight'], options);
    const [less] = await embedder.labelTexts(short, ['one two three four five six seven'], options);
    expect(long).toEqual(fits);
    expect(long).not.toEqual(less);
    await expect(embedder.labelTexts(short, ['x'], { labels: ['word '.repeat(20)] })).rejects.toThrow(
      /has 24 tokens, and beside a text there is room for 12/,
    );
  });

  it('gives an error for a text of which the places of tokens cannot be told', async () => {
    const folder = tinyModelsFolder();
    const directory = join(folder, 'pgembedder', 'tiny-random-ner');
    const tokenizer = JSON.parse(readFileSync(join(directory, 'tokenizer.json'), 'utf8'));
    tokenizer.normalizer.lowercase = false;
    writeFileSync(join(directory, 'tokenizer.json'), JSON.stringify(tokenizer));
    // The library's own step before the normalizer, which no model of this kind has.
    writeFileSync(join(directory, 'tokenizer_config.json'), '{"do_lowercase_and_remove_accent": true}');
    const model = createModelStore({ directories: [folder] }).find('pgembedder/tiny-random-ner');
    const embedder = new Embedder({ engine: startEngine().engine });
    const seen: number[] = [];
    const results = await embedder.labelTexts(model as typeof ner, ['cat', 'Unaffable', 'dog'], {
      onBatch: (done) => seen.push(...done.map(({ place }) => place)),
    });
    expect(results.map((result) => result instanceof EngineError && result.kind)).toEqual([
      false,
      'run',
      false,
    ]);
    expect(seen.sort()).toEqual([0, 1, 2]);
  });

  it('finds the one text that the model refuses, whatever it shares a batch with', async () => {
    const folder = tinyModelsFolder();
    const path = join(folder, 'pgembedder', 'tiny-random-nli', 'tokenizer.json');
    const tokenizer = JSON.parse(readFileSync(path, 'utf8'));
    tokenizer.added_tokens.push({
      ...tokenizer.added_tokens[0],
      id: 999_999,
      content: 'poison',
      special: false,
    });
    writeFileSync(path, JSON.stringify(tokenizer));
    const model = createModelStore({ directories: [folder] }).find(
      'pgembedder/tiny-random-nli',
      'zero-shot-classification',
    );
    const embedder = new Embedder({ engine: startEngine().engine });
    const texts = Array.from({ length: 20 }, (_, index) => `text ${index}${index === 7 ? ' poison' : ''}`);
    const results = await embedder.labelTexts(model, texts, { labels: ['a', 'b', 'c'] });
    expect(results.flatMap((result, index) => (result instanceof EngineError ? [index] : []))).toEqual([7]);
    expect(results[7]).toMatchObject({ kind: 'run' });
  });
});
