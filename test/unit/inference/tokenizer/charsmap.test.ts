import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Charsmap } from '../../../../src/inference/tokenizer/charsmap.ts';
import { packageRoot } from '../../../../src/package-root.ts';

// That it is the reference's is shown by tokenizer-kinds.test.ts, with the ids of this tokenizer.
const file = join(packageRoot, 'test', 'fixtures', 'tokenizers', 'unigram-charsmap.json');
const base64: string = JSON.parse(readFileSync(file, 'utf8')).normalizer.normalizers[0].precompiled_charsmap;

describe('a normalizer of sentencepiece', () => {
  it.each([
    ['', ''],
    ['plain text', 'plain text'],
    ['ＡＢＣ ﬁ', 'ABC fi'],
    ['a\u00a0b\tc\u3000d', 'a b c d'],
    ['cafe\u0301', 'café'],
    // Too long to be looked up as a whole (9 bytes), and its parts have no rule.
    ['\u1112\u1161\u11ab', '\u1112\u1161\u11ab'],
    // Six bytes: the same.
    ['\u1112\u1161', '\u1112\u1161'],
    ['\x01a\x02', 'a'],
    ['👩‍👩‍👧', '👩‍👩‍👧'],
    ['\u0000', '\u0000'],
  ])('makes %j into %j', (text, normalized) => {
    expect(new Charsmap(base64).normalize(text)).toBe(normalized);
  });

  it.each([
    ['nothing', ''],
    ['three bytes', 'AAAA'],
    ['a trie that is longer than the file', Buffer.from([0, 1, 0, 0, 1, 2, 3, 4]).toString('base64')],
    ['a trie of no units', Buffer.from([0, 0, 0, 0, 65, 0]).toString('base64')],
  ])('refuses %s', (_, damaged) => {
    expect(() => new Charsmap(damaged)).toThrow('its precompiled_charsmap is damaged');
  });

  it('comes to an end with a trie of nonsense', () => {
    for (let seed = 1; seed < 50; seed++) {
      const bytes = Buffer.alloc(4 + 256 * 4, seed * 37);
      bytes.writeUInt32LE(256 * 4, 0);
      for (let at = 4; at < bytes.length; at++) bytes[at] = (bytes[at - 1]! * 31 + seed) & 255;
      expect(typeof new Charsmap(bytes.toString('base64')).normalize('abc 東京 e\u0301 😀')).toBe('string');
    }
  });
});
