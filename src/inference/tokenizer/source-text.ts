/** A normalized text that knows where it comes from. */
export interface SourceText {
  readonly text: string;
  /**
   * For each UTF-16 unit of `text` the code points of the original it comes from: from `starts[i]` to before
   * `ends[i]`.
   */
  readonly starts: readonly number[];
  readonly ends: readonly number[];
}

/**
 * Normalizes a text and keeps track of what comes from where.
 *
 * A normalizer looks at one character at a time, or at a character with the marks after it, so the text is normalized
 * in pieces and put together. Where that gives something else than the whole word does, the pieces are larger: first
 * characters with their marks, then the word. So places are exact for BERT's normalizer and at worst those of words.
 *
 * @param offset code points before `original` in the text that places are counted in
 */
export function sourceText(original: string, normalize: (text: string) => string, offset = 0): SourceText {
  const whole = normalize(original);
  const pieces = original.match(words)?.flatMap((word) => piecesOf(word, normalize)) ?? [];
  const together = pieces.map(({ normalized }) => normalized).join('');
  const parts = together === whole ? pieces : [{ original, normalized: whole }];
  const starts: number[] = [];
  const ends: number[] = [];
  let at = offset;
  for (const part of parts) {
    const end = at + codePoints(part.original);
    for (let unit = 0; unit < part.normalized.length; unit++) {
      starts.push(at);
      ends.push(end);
    }
    at = end;
  }
  return { text: whole, starts, ends };
}

/** A part of a text and what became of it. */
interface Piece {
  readonly original: string;
  readonly normalized: string;
}

const words = /\s+|\S+/gu;
const characters = /[\s\S]/gu;
const charactersWithMarks = /\P{M}\p{M}*|\p{M}+/gu;

/** The smallest pieces that give what the whole word gives. */
function piecesOf(word: string, normalize: (text: string) => string): Piece[] {
  const whole = normalize(word);
  for (const size of [characters, charactersWithMarks]) {
    const pieces = word.match(size)!.map((original) => ({ original, normalized: normalize(original) }));
    if (pieces.map(({ normalized }) => normalized).join('') === whole) {
      return pieces;
    }
  }
  return [{ original: word, normalized: whole }];
}

/** Characters as PostgreSQL and Python count them. */
export function codePoints(text: string): number {
  let count = 0;
  for (const _ of text) {
    count++;
  }
  return count;
}
