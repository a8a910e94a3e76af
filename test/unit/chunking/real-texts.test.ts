import { describe, expect, it } from 'vitest';
import { splitText } from '../../../src/chunking/chunking.ts';
import { realTexts, repeatedTokens, soundChunks, strategies, tokenizer } from './support.ts';

const sizes = [
  { size: 8, overlap: 3 },
  { size: 64, overlap: 0 },
  { size: 256, overlap: 32 },
];
const cases = Object.entries(realTexts).flatMap(([name, text]) =>
  strategies.map((strategy) => ({ name, text, strategy })),
);

describe.each(cases)('$name by $strategy', ({ text, strategy }) => {
  it.each(sizes)('is covered by chunks of at most $size tokens, $overlap repeated', ({ size, overlap }) => {
    const chunks = soundChunks(text, { strategy, size, overlap });
    expect(chunks.length).toBeGreaterThan(1);
    expect(Math.max(...repeatedTokens(text, chunks))).toBeLessThanOrEqual(overlap);
    for (const chunk of chunks) {
      // What the model gets: the tokens and the two special ones.
      expect(tokenizer.encode(chunk.text).length).toBe(Math.min(256, tokenizer.count(chunk.text) + 2));
    }
    expect(splitText(text, { strategy, size, overlap }, tokenizer)).toEqual(chunks);
  });

  it('keeps its chunks but the last ones when text is put to its end', () => {
    const chunking = { strategy, size: 64, overlap: 16 };
    const whole = splitText(text, chunking, tokenizer);
    // Of the last section and of the one before it, where the cut makes a heading of what was text or the reverse.
    const open = strategy === 'markdown' ? 4 : 2;
    for (let part = 1; part < 12; part++) {
      const before = splitText(text.slice(0, Math.floor((text.length * part) / 12)), chunking, tokenizer);
      expect(whole.slice(0, Math.max(0, before.length - open))).toEqual(before.slice(0, -open));
    }
  });
});

describe('windows of words', () => {
  const text = realTexts['glosses in one line']!;
  const chunks = splitText(text, { strategy: 'tokens', size: 128, overlap: 32 }, tokenizer);

  it('are filled and repeat nearly as much as they may', () => {
    const tokens = chunks.slice(0, -1).map((chunk) => tokenizer.count(chunk.text));
    expect(Math.min(...tokens)).toBeGreaterThan(128 - 12);
    expect(Math.min(...repeatedTokens(text, chunks))).toBeGreaterThan(32 - 12);
  });

  it('start and end with whole words', () => {
    const words = new Set(text.split(/\s+/));
    for (const chunk of chunks) {
      expect(words).toContain(chunk.text.split(/\s+/)[0]);
      expect(words).toContain(chunk.text.split(/\s+/).at(-1));
    }
  });
});

it('repeats tokens in texts without spaces, too', () => {
  const text = '他们说中文'.repeat(400);
  const chunks = soundChunks(text, { strategy: 'tokens', size: 128, overlap: 32 });
  expect(Math.min(...repeatedTokens(text, chunks))).toBeGreaterThanOrEqual(24);
});
