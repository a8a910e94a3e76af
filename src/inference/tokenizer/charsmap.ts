/**
 * The normalizer that sentencepiece models bring along (`precompiled_charsmap`), as the reference reads it. The
 * library has rules of its own in its place, which are those of one of its versions.
 *
 * The map is: bytes of the trie (uint32), the trie, and the replacements, each ended by a 0. The trie is a double array
 * (Darts, https://github.com/s-yata/darts-clone) of uint32 units over UTF-8; a leaf's value is where its replacement
 * begins. A character with its marks (a grapheme) of up to five bytes is looked up as a whole first, then each of its
 * code points: see `Precompiled` in https://github.com/huggingface/tokenizers.
 */
export class Charsmap {
  readonly #trie: Uint32Array;
  readonly #replacements: Uint8Array;
  /** What became of graphemes. */
  readonly #known = new Map<string, string>();

  /** @throws Error when the bytes are no such map */
  constructor(base64: string) {
    const bytes = Buffer.from(base64, 'base64');
    const size = bytes.length >= 4 ? bytes.readUInt32LE(0) : -1;
    if (size < 4 || size % 4 !== 0 || 4 + size > bytes.length) {
      throw new Error('its precompiled_charsmap is damaged');
    }
    this.#trie = Uint32Array.from({ length: size / 4 }, (_, unit) => bytes.readUInt32LE(4 + 4 * unit));
    this.#replacements = bytes.subarray(4 + size);
  }

  normalize(text: string): string {
    return text.replace(graphemes, (grapheme) => {
      const known = this.#known.get(grapheme);
      if (known !== undefined) return known;
      const whole = Buffer.byteLength(grapheme) < 6 ? this.#lookUp(grapheme) : undefined;
      const normalized = whole ?? Array.from(grapheme, (part) => this.#lookUp(part) ?? part).join('');
      // A text has few different ones, and short ones; a text of nonsense has many, as long as itself.
      if (grapheme.length <= 4 && this.#known.size < MOST_KNOWN) this.#known.set(grapheme, normalized);
      return normalized;
    });
  }

  /** The replacement for the shortest beginning of a text that has one. */
  #lookUp(text: string): string | undefined {
    const trie = this.#trie;
    let at = offsetOf(trie[0]!);
    for (const byte of Buffer.from(text)) {
      at ^= byte;
      const unit = trie[at];
      if (byte === 0 || unit === undefined || (unit & 0x800000ff) >>> 0 !== byte) return undefined;
      at ^= offsetOf(unit);
      if ((unit >>> 8) & 1) return this.#replacement((trie[at] ?? 0) & 0x7fffffff);
    }
    return undefined;
  }

  #replacement(from: number): string {
    const end = this.#replacements.indexOf(0, from);
    return Buffer.from(this.#replacements.subarray(from, end < 0 ? undefined : end)).toString();
  }
}

/** How far from a unit its children are. */
function offsetOf(unit: number): number {
  return (unit >>> 10) << ((unit & 0x200) >>> 6);
}

/** Graphemes whose replacement is remembered. */
const MOST_KNOWN = 50_000;

/** What stands before its base, and what after it. */
const SIGNS = '[\\u0600-\\u0605\\u06dd\\u070f\\u0890\\u0891\\u08e2\\u0d4e]';
const MARKS = '(?:\\p{M}|\\u200c|\\u200d|\\u0e33|\\u0eb3|[\\uff9e\\uff9f]|[\\u{1f3fb}-\\u{1f3ff}])';

/**
 * Graphemes, as far as they have less than six bytes: a code point with the marks on it and the signs before it, or a
 * control character, which has no marks. What joins others (emoji, syllables of Hangul and of India's scripts) has more,
 * so it does not matter where such a grapheme ends. `Intl.Segmenter` gives the same in quadratic time (Node 20: 85 s for
 * 104,000 characters with marks).
 */
const graphemes = new RegExp(
  `\\r\\n|[\\p{Cc}\\p{Zl}\\p{Zp}]|(?!${SIGNS}|${MARKS})\\p{Cf}|${SIGNS}*[\\s\\S]${MARKS}*`,
  'gu',
);
