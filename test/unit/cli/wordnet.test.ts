import { describe, expect, it } from 'vitest';
import { GLOSS_COUNT, parseSynsets, parseTagCounts, readGlosses } from '../../../src/cli/demo/wordnet.ts';

describe('parseSynsets', () => {
  const lines = [
    '  1 This software and database is being provided to you  ',
    '00001740 03 n 01 entity 0 003 ~ 00001930 n 0000 ~ 00002137 n 0000 ~ 04431553 n 0000 | that which is perceived  ',
    '00014490 00 s 0b abounding 0 galore(ip) 0 a 0 b 0 c 0 d 0 e 0 f 0 g 0 h 0 ready_to_hand(p) 0 001 & 00013887 a 0000 | existing in abundance; "a | b"  ',
    '',
  ].join('\n');
  const synsets = [...parseSynsets(lines, 'noun')];

  it('leaves the licence out', () => expect(synsets).toHaveLength(2));
  it('reads words, relations and gloss', () => {
    expect(synsets[0]).toEqual({
      offset: '00001740',
      lexFile: '03',
      words: ['entity'],
      pointers: 3,
      word: 'entity',
      pos: 'noun',
      gloss: 'that which is perceived',
    });
  });
  it('counts words in hexadecimal, and cleans them', () => {
    expect(synsets[1]!.words).toHaveLength(11);
    expect(synsets[1]!.words.slice(0, 2)).toEqual(['abounding', 'galore']);
    expect(synsets[1]!.words.at(-1)).toBe('ready to hand');
    expect(synsets[1]!.gloss).toBe('existing in abundance; "a | b"');
  });
});

it('parseTagCounts adds the senses of a synset up, satellites to the adjectives', () => {
  const text =
    'able%5:00:00:capable:00 00001740 1 3\nable%3:00:00:: 00001740 2 4\nx%1:03:00:: 00001740 1 0\n';
  expect([...parseTagCounts(text)]).toEqual([['adjective00001740', 7]]);
});

const DEFAULT_ROWS = 10_000;

describe('readGlosses', () => {
  it('gives all, in an order that begins with what one looks for', async () => {
    const glosses = await readGlosses();
    expect(glosses).toHaveLength(GLOSS_COUNT);
    expect(glosses.every(({ word, gloss }) => word !== '' && gloss !== '')).toBe(true);
    const place = (word: string) => glosses.findIndex((each) => each.word.split(', ').includes(word));
    // What the README and the demo's examples ask for has to be among the demo's default rows.
    for (const word of ['entomologist', 'plumber', 'veterinarian', 'summer']) {
      expect(place(word)).toBeGreaterThanOrEqual(0);
      expect(place(word)).toBeLessThan(DEFAULT_ROWS);
    }
    expect(await readGlosses()).toEqual(glosses);
  });
});
