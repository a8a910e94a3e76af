import { describe, expect, it } from 'vitest';
import { splitText } from '../../../src/chunking/chunking.ts';
import { soundChunks, strategies, tokenizer } from './support.ts';

const sentence = 'The quick brown fox jumps over the lazy dog, and e.g. Mr. Smith looks on. ';
const hostile: Record<string, string> = {
  'one line of 700 KB': sentence.repeat(10_000),
  'one word of 400 KB': 'abcdefghij'.repeat(40_000),
  base64: Buffer.from(Uint8Array.from({ length: 40_000 }, (_, n) => (n * n * 31) >> 3)).toString('base64'),
  'CJK without spaces': '中文字。𠀀'.repeat(20_000),
  'only emoji': '👩‍👩‍👧‍👦😀🇩🇪'.repeat(20_000),
  'one letter with marks without end': `e${'\u0301'.repeat(200_000)}`,
  'lone surrogates': '\ud800 a\udc00b\udc00'.repeat(20_000),
  'only high surrogates': '\ud83d'.repeat(100_000),
  'control characters': '\0\u0001\v\f\u001f\ufeff\\u0000 '.repeat(20_000),
  'words without tokens': '\u200b '.repeat(30_000),
  '200,000 newlines between two words': `a${'\n'.repeat(200_000)}b`,
  '100,000 headings': '# a\n'.repeat(100_000),
  '30,000 empty headings': '#\n'.repeat(30_000),
  '20,000 underlined headings': 'a\n===\n'.repeat(20_000),
  '50,000 link targets': '[a]: b\n'.repeat(50_000),
  'quotes in quotes': `${'>'.repeat(10_000)}a`,
  'lists in lists': Array.from({ length: 1000 }, (_, depth) => `${'  '.repeat(depth)}- a`).join('\n'),
  'a heading of 240 KB': `# ${'[*`<'.repeat(60_000)}\n\ntext`,
  'unclosed front matter': `---\na: b\n${'-- \n'.repeat(30_000)}`,
};

// The limit of time is far above what each takes here (2 s), and far below what a square of the length would take.
describe.each(Object.entries(hostile))('%s', (_, text) => {
  it.each(strategies)(
    'is covered in linear time by %s',
    (strategy) => {
      let counted = 0;
      const counter = {
        count: (part: string) => {
          counted += part.length;
          return tokenizer.count(part);
        },
      };
      const chunking = { strategy, size: 256, overlap: 32 };
      expect(splitText(text, chunking, counter).length).toBeGreaterThan(0);
      expect(counted).toBeLessThan(2.2 * text.length);
      soundChunks(text.slice(0, 20_000), chunking);
    },
    30_000,
  );
});

it.each(['', ' ', '\n'.repeat(200_000), '\t\u3000\ufeff'])('a blank text has no chunks', (text) => {
  for (const strategy of strategies) {
    expect(splitText(text, { strategy, size: 8, overlap: 0 }, tokenizer)).toEqual([]);
  }
});

describe('graphemes', () => {
  it.each(['👩‍👩‍👧‍👦', '🇩🇪', 'e\u0301', '𠀀', '한'])('are not cut: %s', (grapheme) => {
    const segmenter = new Intl.Segmenter('en');
    for (const strategy of strategies) {
      const chunks = soundChunks(grapheme.repeat(3_000), { strategy, size: 8, overlap: 2 });
      for (const { text } of chunks) {
        expect(new Set(Array.from(segmenter.segment(text), ({ segment }) => segment))).toEqual(
          new Set([grapheme]),
        );
      }
    }
  });

  it('with more tokens than a chunk may have are chunks of their own, by code points', () => {
    const count = (text: string) => [...text].length * 5;
    const chunks = splitText('ab 👩‍👦', { strategy: 'recursive', size: 8, overlap: 0 }, { count });
    expect(chunks.map(({ text }) => text)).toEqual(['a', 'b', '👩', '\u200d', '👦']);
    const many = { count: (text: string) => [...text].length * 20 };
    expect(splitText('ab', { strategy: 'tokens', size: 8, overlap: 3 }, many).length).toBe(2);
  });
});

describe('a tokenizer in which whitespace counts', () => {
  // As with byte-level tokenizers, the words' tokens alone are fewer than the text's.
  const counter = { count: (text: string) => text.length };
  const text = Array.from({ length: 500 }, (_, n) => `line ${n}${' '.repeat(n % 40)}of code`).join('\n\n\n');

  it.each(strategies)('keeps to the size by %s', (strategy) => {
    for (const size of [8, 20, 100]) {
      const chunks = soundChunks(text, { strategy, size, overlap: size / 4 }, counter);
      expect(chunks.length).toBeLessThan(text.length / (size / 4));
    }
  });
});
