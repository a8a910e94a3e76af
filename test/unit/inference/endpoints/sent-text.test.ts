import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeModel } from '../../../../src/inference/endpoints/endpoint-model.ts';
import { tokenizerOf } from '../../../../src/inference/endpoints/sent-text.ts';
import { bundledModelsDirectory } from '../../../../src/models/catalog.ts';
import { endpointAt } from '../../../support/endpoints.ts';

const folder = join(bundledModelsDirectory, 'pgembedder', 'all-MiniLM-L6-v2');

function tokenizer(max_tokens: number, directory?: string) {
  const endpoint = endpointAt('http://127.0.0.1');
  const listed = { ...endpoint.models[0]!, max_tokens, tokenizer: directory };
  return tokenizerOf(describeModel(endpoint, listed));
}

it('without a tokenizer tokens are a fourth of the bytes, and the server cuts', () => {
  const own = tokenizer(8);
  expect(own.count('a small cat')).toBe(3);
  expect(own.count('猫'.repeat(4))).toBe(3);
  expect(own.ids).toBeUndefined();
  const long = 'a small cat '.repeat(50);
  expect(own.encode(long)).toEqual({ text: long, tokens: 8 });
  // Nobody needs more than that of a text, whatever the tokenizer is.
  expect(own.encode('a'.repeat(10_000)).text).toHaveLength(800);
});

it('with one they are counted, and a text is cut where it is full', () => {
  const own = tokenizer(8, folder);
  expect(own.count('a small cat')).toBe(3);
  expect(own.encode('a small cat')).toEqual({ text: 'a small cat', tokens: 5 });
  const { text, tokens } = own.encode('one two three four five six seven eight nine ten');
  expect(tokens).toBe(8);
  expect(text.trimEnd()).toBe('one two three four five six');
  expect(own.ids?.decode([1037, 4937])).toBe('a cat');
});

it.each([
  'one two three four five six',
  'x',
  '',
  '🐈'.repeat(40),
  'supercalifragilisticexpialidocious '.repeat(9),
])('what is cut of %j is all that fits, and no half of a character', (given) => {
  const own = tokenizer(8, folder);
  const { text } = own.encode(given);
  expect(given.startsWith(text)).toBe(true);
  expect(own.count(text)).toBeLessThanOrEqual(6);
  expect(text).not.toMatch(/\p{Surrogate}/u);
  if (text !== given) expect(own.count(given.slice(0, text.length + 2))).toBeGreaterThanOrEqual(6);
});

it('a folder without a tokenizer is refused in one line', () => {
  expect(() => tokenizer(8, join(folder, 'none'))).toThrow(/none\/tokenizer\.json/);
});
