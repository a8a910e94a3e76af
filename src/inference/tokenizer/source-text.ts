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
 * in parts and put together. Where that gives something else than the whole word does, the parts are larger: first
 * characters with their marks, then the word. So places are exact for BERT's normalizer and at worst those of words.
 *
 * @param offset code points before `original` in the text that places are counted in
 */
export function sourceText(original: string, normalize: (text: string) => string, offset = 0): SourceText {
  const whole = normalize(original);
  const parts = original.match(WORDS)?.flatMap((word) => partsOf(word, normalize)) ?? [];
  const together = parts.map(({ normalized }) => normalized).join('');
  const used = together === whole ? parts : [{ original, normalized: whole }];
  const starts: number[] = [];
  const ends: number[] = [];
  let at = offset;
  for (const part of used) {
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
interface Part {
  readonly original: string;
  readonly normalized: string;
}

const WORDS = /\s+|\S+/gu;
const CHARACTERS = /[\s\S]/gu;
const CHARACTERS_WITH_MARKS = /\P{M}\p{M}*|\p{M}+/gu;

/** The smallest parts that give what the whole word gives. */
function partsOf(word: string, normalize: (text: string) => string): Part[] {
  const whole = normalize(word);
  for (const size of [CHARACTERS, CHARACTERS_WITH_MARKS]) {
    const parts = word.match(size)!.map((original) => ({ original, normalized: normalize(original) }));
    if (parts.map(({ normalized }) => normalized).join('') === whole) {
      return parts;
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
