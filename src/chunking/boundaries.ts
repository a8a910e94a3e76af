import { splitsPair } from './code-points.ts';

/**
 * Finds where a text may be cut: offsets inside the text, ascending. What it finds depends on the text before a cut
 * and little after it, so that text put to the end moves no earlier cuts.
 */
export type Boundaries = (text: string) => Iterable<number>;

// A fixed locale: the one of the machine would make chunks differ between workers.
const sentenceSegmenter = new Intl.Segmenter('en', { granularity: 'sentence' });
const graphemeSegmenter = new Intl.Segmenter('en', { granularity: 'grapheme' });

/** UTF-16 units that the sentence segmenter sees at once: its time grows with their square. */
const SENTENCE_WINDOW = 1024;
/** UTF-16 units that the grapheme segmenter sees at once; a grapheme that fills them is cut. */
const GRAPHEME_WINDOW = 128;

/** After empty lines. */
export const paragraphs: Boundaries = (text) => endsOf(/\n[^\S\n]*\n\s*/g, text);

/** After line breaks. */
export const lines: Boundaries = (text) => endsOf(/\r\n?|\n/g, text);

/** Before words, which are what whitespace divides. */
export const words: Boundaries = (text) => endsOf(/\s+/g, text);

function* endsOf(pattern: RegExp, text: string): Generator<number> {
  for (const match of text.matchAll(pattern)) {
    yield match.index + match[0].length;
  }
}

/** After sentences, by the rules of Unicode. */
export function* sentences(text: string): Generator<number> {
  let at = 0;
  while (at < text.length) {
    const window = text.slice(at, at + SENTENCE_WINDOW);
    const ends: number[] = [];
    for (const { index, segment } of sentenceSegmenter.segment(window)) {
      ends.push(at + index + segment.length);
    }
    // The window may end inside a sentence, so the last one is looked at again with what follows it.
    ends.pop();
    yield* ends;
    at = ends.at(-1) ?? at + SENTENCE_WINDOW;
  }
}

/**
 * At a string taken literally. It stays with the text before it. If it begins with a line break (`"\n## "`), the rest of it
 * begins the text after the cut.
 */
export function literal(separator: string): Boundaries {
  const leading = separator.length - separator.trimStart().length;
  const lead = /^[\r\n]/.test(separator) ? leading : separator.length;
  return function* (text) {
    for (let at = text.indexOf(separator); at >= 0; at = text.indexOf(separator, at + separator.length)) {
      yield at + lead;
    }
  };
}

/** Between characters as readers see them, about every `length` UTF-16 units; 1: between all of them. */
export function characters(length: number): Boundaries {
  return function* (text) {
    let at = 0;
    while (text.length - at > length) {
      at += blockLength(text.slice(at, at + GRAPHEME_WINDOW), length);
      if (at < text.length) {
        yield at;
      }
    }
  };
}

/** The length of the block that starts a text longer than `length`: whole characters, and at least one. */
function blockLength(text: string, length: number): number {
  const { index, segment } = graphemeSegmenter.segment(text).containing(length)!;
  if (index > 0) {
    return index;
  }
  // Less one, since the window may end inside a surrogate pair.
  if (segment.length < GRAPHEME_WINDOW - 1) {
    return segment.length;
  }
  // Hundreds of marks on one letter: nobody reads that as one character.
  return splitsPair(text, length) ? length + 1 : length;
}

/** Between code points. */
export function* codePoints(text: string): Generator<number> {
  for (let at = 1; at < text.length; at++) {
    if (!splitsPair(text, at)) {
      yield at;
    }
  }
}
