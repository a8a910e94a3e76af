import {
  type Boundaries,
  characters,
  codePoints,
  lines,
  literal,
  paragraphs,
  sentences,
  words,
} from './boundaries.ts';
import type { Chunking } from './types.ts';

/** One way to divide what is too long; levels are tried from coarse to fine. */
export interface Level {
  boundaries: Boundaries;
  /** A piece with more tokens is divided at this level. */
  above: number;
}

/** The levels of a strategy. The last ones divide words, so that any text can be brought down to `size` tokens. */
export function levelsOf({ strategy, size, overlap, separators }: Chunking): Level[] {
  const structure = strategy === 'tokens' ? [] : (separators?.map(literal) ?? [paragraphs, lines, sentences]);
  // The size of parts of a word: small, so that some make an overlap, and a chunk is filled well.
  const grain = Math.max(1, Math.floor(overlap > 0 ? overlap / 4 : size / 8));
  return [
    ...[...structure, words, characters(64)].map((boundaries) => ({ boundaries, above: size })),
    ...[16, 4, 1].map((length) => ({ boundaries: characters(length), above: grain })),
    { boundaries: codePoints, above: size },
  ];
}
