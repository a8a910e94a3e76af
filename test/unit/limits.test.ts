import { cpSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { describe, expect, it, onTestFinished } from 'vitest';
import { inParts, textsAtOnce } from '../../src/inference/labels/parts.ts';
import { loadTokenizer } from '../../src/inference/tokenizer/tokenizer.ts';
import { checkTexts, limits } from '../../src/limits.ts';
import { createModelStore } from '../../src/models/store.ts';
import { packageRoot } from '../../src/package-root.ts';
import { checkTaskOptions } from '../../src/tasks/task-options.ts';

describe('the texts of a call', () => {
  it('may be so many and no more', () => {
    const texts = new Array<string>(limits.textsPerCall).fill('a');
    expect(() => checkTexts(texts)).not.toThrow();
    expect(() => checkTexts([...texts, 'a'])).toThrow(
      expect.objectContaining({
        name: 'UserError',
        line: 'The call has 2,049 texts, and may have 2,048. Give them in several calls',
      }),
    );
  });

  it('may be so long and no longer', () => {
    const text = 'a'.repeat(limits.textCharacters);
    expect(() => checkTexts(['', text])).not.toThrow();
    expect(() => checkTexts(['', `${text}a`])).toThrow(
      'Text 2 of the call has 10,000,001 characters, and may have 10,000,000',
    );
  });
});

describe('the options of zero-shot classification', () => {
  const names = (count: number) => Array.from({ length: count }, (_, index) => `label ${index}`);

  it('may have so many labels, so long, and so long a template', () => {
    const labels = [...names(limits.labels - 1), 'x'.repeat(limits.labelCharacters)];
    const template = '{}'.padEnd(limits.templateCharacters);
    expect(
      checkTaskOptions('zero-shot-classification', { labels, hypothesis_template: template }).labels,
    ).toEqual(labels);
  });

  it.each([
    [{ labels: names(1_001) }, /labels: there may be 1000 of them/],
    [{ labels: ['a', 'x'.repeat(1_001)] }, /labels\.1: a label has at most 1000 characters/],
    [
      { labels: ['a'], hypothesis_template: '{}'.padEnd(1_001) },
      /hypothesis_template: it has at most 1000 characters/,
    ],
  ])('and no more', (options, message) => {
    expect(() => checkTaskOptions('zero-shot-classification', options)).toThrow(message);
    expect(() => checkTaskOptions('feature-extraction', { prompt: 'x'.repeat(10_001) })).toThrow(
      /prompt: it has at most 10000 characters/,
    );
  });
});

describe('texts that are several rows each', () => {
  it('are made ready in parts that stay under the limit of rows', () => {
    expect(textsAtOnce({ labels: ['a', 'b', 'c'] })).toBe(5461);
    expect(textsAtOnce({ labels: new Array(limits.labels).fill('a') })).toBe(16);
    expect(textsAtOnce({})).toBe(limits.sequencesAtOnce);
  });

  it('keep their order', () => {
    expect(inParts(['a', 'b', 'c', 'd', 'e'], 2)).toEqual([['a', 'b'], ['c', 'd'], ['e']]);
    expect(inParts([], 2)).toEqual([]);
  });
});

describe('a text without spaces', () => {
  it.each(['unigram', 'bpe-byte-fallback', 'bpe-roberta'])(
    'is looked at only as far as it may count, by %s',
    (kind) => {
      const directory = mkdtempSync(join(tmpdir(), 'pgembedder-limits-'));
      onTestFinished(() => rmSync(directory, { recursive: true }));
      cpSync(
        join(packageRoot, 'test', 'fixtures', 'tokenizers', `${kind}.json`),
        join(directory, 'tokenizer.json'),
      );
      writeFileSync(join(directory, 'tokenizer_config.json'), '{}');
      const model = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2');
      const tokenizer = loadTokenizer({ ...model, directory, maxTokens: 8 });
      const start = '東京😀'.repeat(400).slice(0, 799);
      const read: string[] = [];
      const { encode } = HubTokenizer.prototype;
      HubTokenizer.prototype.encode = function (this: HubTokenizer, text: string, ...rest: never[]) {
        read.push(text);
        return encode.call(this, text, ...rest);
      };
      onTestFinished(() => {
        HubTokenizer.prototype.encode = encode;
      });
      expect(tokenizer.encode(`${start}😀${'x'.repeat(1_000_000)}`)).toHaveLength(8);
      // 100 characters for each of 8 tokens, but for the one that the cut would have gone through.
      expect(read).toEqual([start]);
    },
  );
});
