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
  const used = partsThatGive(whole, original, normalize) ?? [{ original, normalized: whole }];
  const starts: number[] = [];
  const ends: number[] = [];
  let at = offset;
  for (const part of used) {
    const end = at + codePoints(part.original);
    const start = end - codePoints(lastSpaces(part));
    for (let unit = 0; unit < part.normalized.length; unit++) {
      starts.push(start);
      ends.push(end);
    }
    at = end;
  }
  return { text: whole, starts, ends };
}

/** Of spaces that have become fewer the last ones, which are what is left; of anything else all of it. */
function lastSpaces({ original, normalized }: Part): string {
  return SPACES.test(original) && normalized !== ''
    ? original.match(SINGLE_SPACES)!.slice(-normalized.length).join('')
    : original;
}

/** Parts of a text that give, put together, what the whole gives; undefined where none do. */
function partsThatGive(whole: string, original: string, normalize: Normalize): Part[] | undefined {
  const words = original.match(WORDS) ?? [];
  const parts = words.flatMap((word) => partsOf(word, normalize, normalize));
  if (together(parts) === whole) return parts;
  const inside = words.flatMap((word) => partsOf(word, normalize, insideOf(normalize)));
  const from = together(inside).indexOf(whole);
  return from < 0 ? undefined : cutTo(inside, from, from + whole.length);
}

type Normalize = (text: string) => string;

/** Normalizes between two letters: one that strips a text of the spaces around it would strip each part as well. */
function insideOf(normalize: Normalize): Normalize {
  return (text) => {
    const guarded = normalize(`${GUARD}${text}${GUARD}`);
    const kept = guarded.length >= 2 && guarded.startsWith(GUARD) && guarded.endsWith(GUARD);
    return kept ? guarded.slice(1, -1) : normalize(text);
  };
}

/** A letter that every normalizer leaves as it is, and that joins no other. */
const GUARD = 'a';

function together(parts: readonly Part[]): string {
  return parts.map(({ normalized }) => normalized).join('');
}

/** The parts without what is before `from` and after `to` in all that came of them. */
function cutTo(parts: readonly Part[], from: number, to: number): Part[] {
  let at = 0;
  return parts.map(({ original, normalized }) => {
    const begin = at;
    at += normalized.length;
    return { original, normalized: normalized.slice(Math.max(0, from - begin), Math.max(0, to - begin)) };
  });
}

/** A part of a text and what became of it. */
interface Part {
  readonly original: string;
  readonly normalized: string;
}

const WORDS = /\s+|\S+/gu;
const SPACES = /^\s+$/;
const SINGLE_SPACES = /\r\n|\s/g;
const CHARACTERS = /[\s\S]/gu;
const CHARACTERS_WITH_MARKS = /\P{M}\p{M}*|\p{M}+/gu;

/** The smallest parts that give what the whole word gives, which stands in a text as `inText` has it. */
function partsOf(word: string, normalize: Normalize, inText: Normalize): Part[] {
  const whole = inText(word);
  for (const size of [CHARACTERS, CHARACTERS_WITH_MARKS]) {
    for (const how of new Set([normalize, inText, insideOf(normalize)])) {
      const parts = word.match(size)!.map((original) => ({ original, normalized: how(original) }));
      if (together(parts) === whole) return parts;
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
