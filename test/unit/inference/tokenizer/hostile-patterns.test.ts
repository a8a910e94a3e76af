import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, it } from 'vitest';
import { loadTokenizer } from '../../../../src/inference/tokenizer/tokenizer.ts';

const directory = mkdtempSync(join(tmpdir(), 'pgembedder-patterns-'));
afterAll(() => rmSync(directory, { recursive: true }));

const split = (Regex: string) => ({
  type: 'Split',
  pattern: { Regex },
  behavior: 'Isolated',
  invert: false,
});
const replace = (Regex: string) => ({ type: 'Replace', pattern: { Regex }, content: 'a' });

function load(steps: { normalizer?: object; pre_tokenizer?: object; decoder?: object }) {
  writeFileSync(
    join(directory, 'tokenizer.json'),
    JSON.stringify({
      version: '1.0',
      added_tokens: [],
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
      ...steps,
      model: { type: 'WordLevel', vocab: { '[UNK]': 0, a: 1, aaa: 2 }, unk_token: '[UNK]' },
    }),
  );
  return loadTokenizer({ directory, maxTokens: 16 });
}

const endless = '(a+)+$';
const text = `${'a'.repeat(60)}b`;

it.each([
  ['cuts words', { pre_tokenizer: split(endless) }],
  [
    'cuts words, among other steps',
    { pre_tokenizer: { type: 'Sequence', pretokenizers: [split(' '), split(endless)] } },
  ],
  ['changes the text', { normalizer: replace(endless) }],
])('a pattern without end that %s is ended, and the error is the model’s', (_, steps) => {
  const tokenizer = load(steps);
  expect(() => tokenizer.encode(text)).toThrow(
    expect.objectContaining({
      kind: 'load',
      message: expect.stringMatching(/^tokenizer\.json has patterns that take more than \d+ ms/),
    }),
  );
  // What comes after it is as it was.
  expect([...tokenizer.encode('a')]).toEqual([1]);
});

it('so is one that joins tokens', () => {
  const tokenizer = load({ decoder: replace(endless) });
  expect(() => tokenizer.join([text])).toThrow(/^tokenizer\.json has patterns/);
  expect(tokenizer.join(['a'])).toBe('a');
});

it('an error within is told as it is', () => {
  const tokenizer = load({ pre_tokenizer: split(' ') });
  expect(() => tokenizer.ids.decode([7])).toThrow('7 is no token of the model');
});
