import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { codePoints, type SourceText, sourceText } from './source-text.ts';

/** A token of a text and where it stands there, in Unicode code points: from `start` to before `end`. */
export interface TokenPlace {
  /** As the vocabulary has it, with the mark of a token that continues a word. */
  readonly token: string;
  readonly start: number;
  readonly end: number;
  /** Whether it stands for a word that the vocabulary does not have. */
  readonly unknown: boolean;
}

/**
 * Finds where the tokens of a text stand in it, which the tokenizer's library does not say.
 *
 * It takes the library's steps with the library's own parts: added tokens ("[MASK]") are cut out, what is between
 * them is normalized, cut into words, and these into tokens. The normalized text knows where each of its characters
 * comes from, and the tokens of a word are its characters, one after the other.
 */
export class WordPieceOffsets {
  readonly #tokenizer: HubTokenizer;
  readonly #normalize: (text: string) => string;
  readonly #prefix: string;
  readonly #unknown: string;
  /** Finds added tokens; null when there are none. */
  readonly #added: RegExp | null;

  /**
   * @param mend what a text is put through before the normalizer, see `menderFor`
   * Raises Error for a tokenizer of another kind.
   */
  constructor(tokenizer: HubTokenizer, definition: unknown, mend: (text: string) => string) {
    const model = Object(Object(definition).model);
    if (model.type !== 'WordPiece') {
      throw new Error(`its kind is ${model.type}, and only that of WordPiece tells where tokens stand`);
    }
    const { normalizer } = tokenizer;
    this.#tokenizer = tokenizer;
    this.#normalize = rememberingCharacters(normalizer ? (text) => normalizer.normalize(mend(text)) : mend);
    this.#prefix = model.continuing_subword_prefix;
    this.#unknown = model.unk_token;
    // The longest first: a shorter one may be how it begins.
    const added = [...tokenizer.get_added_tokens_decoder().values()]
      .map(({ content }) => content)
      .sort((a, b) => b.length - a.length);
    this.#added = added.length > 0 ? new RegExp(`(${added.map(literally).join('|')})`) : null;
  }

  /** The tokens of a text, without the special tokens around it. */
  places(text: string): TokenPlace[] {
    const places: TokenPlace[] = [];
    let at = 0;
    // Split by a pattern with a group: every other section is an added token.
    for (const [index, section] of (this.#added ? text.split(this.#added) : [text]).entries()) {
      const end = at + codePoints(section);
      if (index % 2 === 1) {
        places.push({ token: section, start: at, end, unknown: section === this.#unknown });
      } else {
        this.#addSection(places, sourceText(section, this.#normalize, at));
      }
      at = end;
    }
    return places;
  }

  #addSection(places: TokenPlace[], source: SourceText): void {
    const { pre_tokenizer: splitter, model } = this.#tokenizer;
    let at = 0;
    for (const word of splitter ? splitter.pre_tokenize(source.text) : [source.text]) {
      const from = source.text.indexOf(word, at);
      at = from;
      for (const token of model!.encode([word])) {
        const unknown = token === this.#unknown;
        const first = at;
        const mark = at > from ? this.#prefix.length : 0;
        at += unknown ? word.length : token.length - mark;
        places.push({ token, start: source.starts[first]!, end: source.ends[at - 1]!, unknown });
      }
    }
  }
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
