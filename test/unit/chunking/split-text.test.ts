import { describe, expect, it } from 'vitest';
import { splitText } from '../../../src/chunking/chunking.ts';
import { textsOf, wordCounter } from './support.ts';

// Words are tokens here.
describe('tokens', () => {
  it('makes windows that overlap', () => {
    expect(textsOf('1 2 3 4 5 6 7 8 9 10', { strategy: 'tokens', size: 4, overlap: 1 })).toEqual([
      '1 2 3 4',
      '4 5 6 7',
      '7 8 9 10',
    ]);
    expect(textsOf('1  2\n\n3 ', { strategy: 'tokens', size: 2, overlap: 0 })).toEqual(['1  2', '3']);
  });

  it('does not see paragraphs', () => {
    expect(textsOf('a\n\nb c', { strategy: 'tokens', size: 2, overlap: 0 })).toEqual(['a\n\nb', 'c']);
  });

  it('gives a short text as it is, without the whitespace around it', () => {
    expect(splitText(' 😀 b\n', { strategy: 'tokens', size: 8, overlap: 3 }, wordCounter)).toEqual([
      { text: '😀 b', start: 1, end: 4, headings: [] },
    ]);
  });

  it('repeats less where a long word would not fit', () => {
    const count = (text: string) => [...text].filter((each) => each !== ' ').length;
    const chunks = splitText('aa bb cc dddddddd e', { strategy: 'tokens', size: 8, overlap: 3 }, { count });
    expect(chunks.map(({ text }) => text)).toEqual(['aa bb cc', 'dddddddd', 'e']);
  });
});

describe('recursive', () => {
  const chunking = { strategy: 'recursive' as const, size: 6, overlap: 0 };

  it('cuts at paragraphs first', () => {
    expect(textsOf('a b c\n\nd e\nf\n \n\ng h i', chunking)).toEqual(['a b c\n\nd e\nf', 'g h i']);
  });

  it('cuts a long paragraph at lines, a long line at sentences, a long sentence at words', () => {
    expect(textsOf('1 2 3\n4 5 6\n7 8 9', chunking)).toEqual(['1 2 3\n4 5 6', '7 8 9']);
    expect(textsOf('1 2\r\n3 4 5 6 7\r\n8', chunking)).toEqual(['1 2', '3 4 5 6 7\r\n8']);
    expect(textsOf('One is it. Two are 2.5 of them! Three?', chunking)).toEqual([
      'One is it.',
      'Two are 2.5 of them! Three?',
    ]);
    expect(textsOf('a b c d e f g h', chunking)).toEqual(['a b c d e f', 'g h']);
  });

  it('puts what is left of a long paragraph together with the next one', () => {
    expect(textsOf('title\n\n1 2 3 4. 5 6 7 8.\n\nend', { ...chunking, size: 5 })).toEqual([
      'title\n\n1 2 3 4.',
      '5 6 7 8.\n\nend',
    ]);
  });

  it('repeats whole pieces', () => {
    expect(textsOf('1 2\n\n3 4\n\n5 6\n\n7 8', { ...chunking, overlap: 2 })).toEqual([
      '1 2\n\n3 4\n\n5 6',
      '5 6\n\n7 8',
    ]);
    expect(textsOf('1 2 3\n\n4 5 6\n\n7', { ...chunking, overlap: 2 })).toEqual(['1 2 3\n\n4 5 6', '7']);
  });

  it('finds sentences far into a long line', () => {
    const line = 'This is the one, as Mr. Smith says. '.repeat(200);
    const chunks = textsOf(line, { ...chunking, size: 8 });
    expect(chunks.length).toBe(200);
    expect(new Set(chunks)).toEqual(new Set([line.slice(0, 35)]));
  });

  it('cuts at separators of its own, which stay with the text before them', () => {
    const separators = ['|', ', '];
    expect(textsOf('a b, c d|e f, g h|i', { ...chunking, size: 3, separators })).toEqual([
      'a b,',
      'c d|',
      'e f,',
      'g h|i',
    ]);
  });

  it('lets a separator that begins with a line break begin the text after it', () => {
    expect(textsOf('a b\n## c\n## d e f', { ...chunking, size: 4, separators: ['\n## '] })).toEqual([
      'a b\n## c',
      '## d e f',
    ]);
    expect(textsOf('1 2\n\n3 4', { ...chunking, size: 3, separators: ['\n\n'] })).toEqual(['1 2', '3 4']);
  });

  it('cuts at words where separators are not enough', () => {
    expect(textsOf('1 2 3 4. 5', { ...chunking, size: 3, separators: ['|'] })).toEqual(['1 2 3', '4. 5']);
  });
});
