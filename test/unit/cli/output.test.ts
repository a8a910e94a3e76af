import { stripVTControlCharacters } from 'node:util';
import { describe, expect, it } from 'vitest';
import { formatAnswers } from '../../../src/cli/demo/answer.ts';
import { takesColours } from '../../../src/cli/output.ts';
import { formatMatches, parseCount } from '../../../src/cli/search.ts';
import { formatStatus } from '../../../src/cli/status.ts';
import { formatTable } from '../../../src/cli/table.ts';
import { intervalSeconds } from '../../../src/pipelines/status.ts';

const plain = (lines: string[]) => lines.map(stripVTControlCharacters);

describe('takesColours', () => {
  const terminal = { isTTY: true } as NodeJS.WriteStream;
  const pipe = {} as NodeJS.WriteStream;
  it.each([
    ['a terminal', terminal, {}, true],
    ['a pipe', pipe, {}, false],
    ['NO_COLOR', terminal, { NO_COLOR: '1', FORCE_COLOR: '1' }, false],
    ['FORCE_COLOR', pipe, { FORCE_COLOR: '1' }, true],
    ['a dumb terminal', terminal, { TERM: 'dumb' }, false],
  ])('%s', (_, stream, environment, expected) => expect(takesColours(stream, environment)).toBe(expected));
});

describe('formatTable', () => {
  it('aligns, numbers to the right, with lines under a row', () => {
    const lines = formatTable(
      [
        { name: 'a', n: 1 },
        { name: 'long', n: 1000 },
      ],
      [
        { title: 'name', text: ({ name }) => name },
        { title: 'n', align: 'right', text: ({ n }) => String(n) },
      ],
      ({ n }) => (n === 1 ? ['  note'] : []),
    );
    expect(plain(lines)).toEqual(['name     n', 'a        1', '  note', 'long  1000']);
  });
});

describe('status', () => {
  it.each([
    ['00:00:01.5', 1.5],
    ['01:02:03', 3_723],
    ['3 days', 259_200],
    ['1 day 00:00:10', 86_410],
  ])('%s', (interval, seconds) => expect(intervalSeconds(interval)).toBe(seconds));

  it('says what to do without pipelines', () => expect(formatStatus([])[0]).toContain('pipeline create'));
});

describe('search', () => {
  it.each(['0', '1001', '1.5', 'x', ''])('takes no count of %j', (text) => {
    expect(() => parseCount(text)).toThrow(/1 to 1000/);
  });
  it('prints similarity, key and a line of the input', () => {
    const match = { key: { id: 7, lang: 'en' }, similarity: 0.87654, input: 'two\nlines' };
    expect(plain(formatMatches([match]))).toEqual([
      'similarity  id  lang  input',
      '     0.877   7  en    two lines',
    ]);
  });
});

describe('demo', () => {
  it('prints words in a column', () => {
    const lines = formatAnswers(
      [
        { word: 'cat, true cat', pos: 'noun', gloss: 'feline mammal', similarity: 0.9 },
        { word: 'dog', pos: 'noun', gloss: 'a member of the genus Canis', similarity: 0.5 },
      ],
      40,
    );
    expect(plain(lines)).toEqual([
      '  0.90  cat, true cat  feline mammal',
      '  0.50  dog            a member of the gen…',
    ]);
  });
});
