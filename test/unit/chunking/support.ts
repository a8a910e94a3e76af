import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { splitText } from '../../../src/chunking/chunking.ts';
import type { TokenCounter } from '../../../src/chunking/token-index.ts';
import type { Chunk, Chunking } from '../../../src/chunking/types.ts';
import { readGlosses } from '../../../src/cli/demo/wordnet.ts';
import { loadTokenizer } from '../../../src/inference/tokenizer/tokenizer.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { packageRoot } from '../../../src/package-root.ts';

/** The tokenizer of the bundled model. */
export const tokenizer = loadTokenizer(createModelStore({ directories: [] }).find('all-MiniLM-L6-v2'));

export const strategies = ['tokens', 'recursive', 'markdown'] as const;

const glosses = (await readGlosses()).slice(0, 300).map(({ gloss }) => gloss);
/** The start of a file, long enough for a hundred chunks. */
const file = (path: string) => readFileSync(join(packageRoot, path), 'utf8').slice(0, 15_000);

/** Real texts: prose with and without paragraphs, Markdown, several scripts, code. */
export const realTexts: Record<string, string> = {
  'glosses in lines': glosses.join('\n'),
  'glosses in paragraphs': glosses.join('.\n\n'),
  'glosses in one line': glosses.join('. '),
  'glosses behind emoji and CJK': `👩‍👩‍👧‍👦😀 中文字𠀀 ${glosses.slice(0, 200).join(' 🇩🇪 ')}`,
  'a README': file('node_modules/picomatch/README.md'),
  'an API': file('node_modules/pino/docs/api.md'),
  'a change log': file('node_modules/minimist/CHANGELOG.md'),
  'a README in Hindi': file('node_modules/@biomejs/biome/README.hi.md'),
  'a README in Japanese': file('node_modules/@biomejs/biome/README.ja.md'),
  'a README in Chinese': file('node_modules/@biomejs/biome/README.zh-CN.md'),
  'a README in CRLF': file('node_modules/semver/README.md').replaceAll('\n', '\r\n'),
  'a program': file('src/embedded/backend.ts'),
};

/** Counts words, so that a test can say what it expects. */
export const wordCounter: TokenCounter = { count: (text) => text.match(/\S+/g)?.length ?? 0 };

/** The texts of the chunks, words being tokens. */
export function textsOf(text: string, chunking: Chunking): string[] {
  return splitText(text, chunking, wordCounter).map((chunk) => chunk.text);
}

/** Checks all that holds for the chunks of any text, and gives them. */
export function soundChunks(text: string, chunking: Chunking, counter: TokenCounter = tokenizer): Chunk[] {
  const chunks = splitText(text, chunking, counter);
  const points = [...text];
  const problems: string[] = [];
  let covered = 0;
  let start = -1;
  for (const [place, chunk] of chunks.entries()) {
    const check = (good: boolean, what: string) => good || problems.push(`chunk ${place}: ${what}`);
    check(chunk.text === points.slice(chunk.start, chunk.end).join(''), 'is not that part of the text');
    check(chunk.text !== '' && chunk.text === chunk.text.trim(), 'is blank or not trimmed');
    check(counter.count(chunk.text) <= chunking.size, `has ${counter.count(chunk.text)} tokens`);
    check(chunk.start > start && chunk.end > covered, 'does not go on');
    check(points.slice(covered, chunk.start).join('').trim() === '', 'leaves text out');
    start = chunk.start;
    covered = chunk.end;
  }
  expect(problems).toEqual([]);
  expect(points.slice(covered).join('').trim()).toBe('');
  return chunks;
}

/** Tokens that each chunk repeats from the one before it. */
export function repeatedTokens(text: string, chunks: readonly Chunk[]): number[] {
  const points = [...text];
  return chunks
    .slice(1)
    .map(({ start }, place) => tokenizer.count(points.slice(start, chunks[place]!.end).join('').trim()));
}
