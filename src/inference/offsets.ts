import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { codePoints, sourceText } from './source-text.ts';
import { byteLevelCutter, type TokenCutter, unigramCutter, wordPieceCutter } from './token-cuts.ts';

/** A token of a text and where it stands there, in Unicode code points: from `start` to before `end`. */
export interface TokenPlace {
  /** As the vocabulary has it, with the mark of a token that begins or continues a word. */
  readonly token: string;
  readonly start: number;
  readonly end: number;
  /** Whether it stands for something that the vocabulary does not have. */
  readonly unknown: boolean;
  /** Whether it continues the word of the token before it, by the rules of transformers' pipeline. */
  readonly continues: boolean;
}

/**
 * Finds where the tokens of a text stand in it, which the tokenizer's library does not say.
 *
 * It takes the library's steps with the library's own parts: added tokens ("[MASK]") are cut out, what is between
 * them is normalized and cut into tokens. The normalized text knows where each of its characters comes from, and the
 * tokens are its characters, one after the other. Compared with the reference tokenizer (in Rust) for each kind.
 */
export class TokenOffsets {
  readonly #normalize: (text: string) => string;
  readonly #cut: TokenCutter;
  /** Finds added tokens; null when there are none. */
  readonly #added: RegExp | null;
  /** Whether tokens that continue a word have a prefix. */
  readonly #hasPrefix: boolean;

  /**
   * @param mend what a text is put through before the normalizer, see `menderFor`
   * Raises Error for a tokenizer of a kind that is not known.
   */
  constructor(tokenizer: HubTokenizer, definition: unknown, mend: (text: string) => string) {
    const { normalizer } = tokenizer;
    this.#normalize = rememberingCharacters(normalizer ? (text) => normalizer.normalize(mend(text)) : mend);
    this.#cut = cutterFor(tokenizer, definition);
    this.#hasPrefix = Object(Object(definition).model).type === 'WordPiece';
    // The longest first: a shorter one may be how it begins.
    const added = [...tokenizer.get_added_tokens_decoder().values()]
      .map(({ content }) => content)
      .sort((a, b) => b.length - a.length);
    this.#added = added.length > 0 ? new RegExp(`(${added.map(literally).join('|')})`) : null;
  }

  /** The tokens of a text, without the special tokens around it. */
  places(text: string): TokenPlace[] {
    const places: Omit<TokenPlace, 'continues'>[] = [];
    let at = 0;
    // Split by a pattern with a group: every other section is an added token. Empty ones do not count.
    const sections = (this.#added ? text.split(this.#added) : [text]).map((section, index) => ({
      section,
      isAdded: index % 2 === 1,
    }));
    for (const [index, { section, isAdded }] of sections.filter((each) => each.section !== '').entries()) {
      const end = at + codePoints(section);
      if (isAdded) {
        places.push({ token: section, start: at, end, unknown: false });
      } else {
        const source = sourceText(section, this.#normalize, at);
        for (const { token, from, to, unknown } of this.#cut(source.text, index)) {
          const start = source.starts[from] ?? end;
          places.push({ token, start, end: to > from ? source.ends[to - 1]! : start, unknown });
        }
      }
      at = end;
    }
    const characters = this.#hasPrefix ? [] : Array.from(text);
    return places.map((place) => ({ ...place, continues: this.#continues(place, characters) }));
  }

  #continues({ token, start, end, unknown }: Omit<TokenPlace, 'continues'>, characters: string[]): boolean {
    if (unknown) {
      return false;
    }
    // The prefix makes a token longer than its part of the text. Without one only spaces tell words apart.
    return this.#hasPrefix
      ? codePoints(token) !== end - start
      : start > 0 && characters[start - 1] !== ' ' && characters[start] !== ' ';
  }
}

function cutterFor(tokenizer: HubTokenizer, definition: unknown): TokenCutter {
  const { model, pre_tokenizer: splitter, post_processor: finisher } = Object(definition);
  const { type, continuing_subword_prefix: prefix, unk_token: unknown } = Object(model);
  const steps = JSON.stringify(splitter ?? null);
  if (type === 'WordPiece') {
    return wordPieceCutter(tokenizer, prefix, unknown);
  }
  if (type === 'BPE' && steps.includes('"ByteLevel"')) {
    return byteLevelCutter(tokenizer, JSON.stringify(finisher ?? null).includes('"trim_offsets":true'));
  }
  if (type === 'Unigram' && steps.includes('"Metaspace"')) {
    return unigramCutter(tokenizer, steps.includes('"WhitespaceSplit"'));
  }
  throw new Error(`where the tokens of its kind (${type}) stand in a text is not known`);
}

/** Remembers what becomes of single characters: nearly all that is asked for, and a call costs a microsecond. */
function rememberingCharacters(normalize: (text: string) => string): (text: string) => string {
  const known = new Map<string, string>();
  return (text) => {
    if (text.length !== 1) {
      return normalize(text);
    }
    const normalized = known.get(text) ?? normalize(text);
    known.set(text, normalized);
    return normalized;
  };
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
