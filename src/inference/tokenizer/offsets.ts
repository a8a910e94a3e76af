import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import type { TokenPlace } from '../../tasks/text-tokenizer.ts';
import { AddedTokens } from './added-tokens.ts';
import { codePoints, type SourceText, sourceText } from './source-text.ts';
import { byteLevelCutter, type TokenCutter, unigramCutter, wordPieceCutter } from './token-cuts.ts';

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
  /** Added tokens that are looked for before and after the text is normalized. */
  readonly #inText: AddedTokens;
  readonly #inNormalized: AddedTokens;
  readonly #trimsSpaces: boolean;
  /** Whether tokens that continue a word have a prefix. */
  readonly #hasPrefix: boolean;

  /**
   * @param mend what a text is put through before the normalizer, see `menderFor`
   * @throws Error for a tokenizer of a kind that is not known.
   */
  constructor(tokenizer: HubTokenizer, definition: unknown, mend: (text: string) => string) {
    const { normalizer } = tokenizer;
    this.#normalize = rememberingCharacters(normalizer ? (text) => normalizer.normalize(mend(text)) : mend);
    this.#cut = cutterFor(tokenizer, definition);
    this.#hasPrefix = Object(Object(definition).model).type === 'WordPiece';
    this.#trimsSpaces = trimsSpaces(definition);
    const added = [...tokenizer.get_added_tokens_decoder().values()];
    const isNormalized = (token: { normalized: boolean }) => token.normalized && normalizer !== null;
    this.#inText = new AddedTokens(added.filter((token) => !isNormalized(token)));
    this.#inNormalized = new AddedTokens(
      added
        .filter(isNormalized)
        .map((token) => ({ ...token, content: normalizer!.normalize(token.content) })),
    );
  }

  /** The tokens of a text, without the special tokens around it. */
  places(text: string): TokenPlace[] {
    const places = this.#inText.split(text).flatMap((section, index) => {
      const before = codePoints(text.slice(0, section.from));
      const original = text.slice(section.from, section.to);
      const { token } = section;
      if (token !== null) {
        // Byte-level tokenizers that leave spaces out of places do so here, too.
        const spaces = this.#trimsSpaces ? original.length - original.trimStart().length : 0;
        const end = before + codePoints(original);
        return [{ token, start: before + spaces, end, unknown: false }];
      }
      return this.#placesIn(sourceText(original, this.#normalize, before), index);
    });
    const characters = this.#hasPrefix ? [] : Array.from(text);
    return places.map((place) => ({ ...place, continues: this.#continues(place, characters) }));
  }

  /** The tokens of a text between added tokens. */
  #placesIn({ text, starts, ends }: SourceText, index: number): Omit<TokenPlace, 'continues'>[] {
    return this.#inNormalized.split(text).flatMap((section) => {
      const part = text.slice(section.from, section.to);
      const cuts =
        section.token === null
          ? this.#cut(part, index)
          : [{ token: section.token, from: 0, to: part.length, unknown: false }];
      return cuts.map(({ token, from, to, unknown }) => {
        const start = starts[section.from + from] ?? ends.at(-1)!;
        const end = to > from ? ends[section.from + to - 1]! : start;
        return { token, start, end, unknown };
      });
    });
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
  const { model, pre_tokenizer: splitter } = Object(definition);
  const { type, continuing_subword_prefix: prefix, unk_token: unknown } = Object(model);
  const steps = JSON.stringify(splitter ?? null);
  if (type === 'WordPiece') {
    return wordPieceCutter(tokenizer, prefix, unknown);
  }
  if (type === 'BPE' && steps.includes('"ByteLevel"')) {
    return byteLevelCutter(tokenizer, trimsSpaces(definition));
  }
  if (type === 'Unigram' && steps.includes('"Metaspace"')) {
    return unigramCutter(tokenizer, steps.includes('"WhitespaceSplit"'));
  }
  throw new Error(`where the tokens of its kind (${type}) stand in a text is not known`);
}

/** Whether the places of tokens are without the spaces around them. */
function trimsSpaces(definition: unknown): boolean {
  return JSON.stringify(Object(definition).post_processor ?? null).includes('"trim_offsets":true');
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
