/** Turns text into what a model takes. Synchronous: about a microsecond a token. */
export interface Tokenizer<Sequence extends object = object> {
  /** Most tokens of a sequence, special tokens included. */
  readonly maxTokens: number;
  /**
   * The sequence of a text, with the model's special tokens. Of a longer text the first tokens are kept and the closing
   * special tokens put after them. Takes any string, also '' and one with lone surrogates.
   */
  encode(text: string): Sequence;
  /** How many tokens a text has, however many: without the model's special tokens and without a limit. */
  count(text: string): number;
  /** Tokens by their numbers, where the model's own tokenizer is here. */
  readonly ids?: TokenIds;
}

/** The numbers that a model has for its tokens. */
export interface TokenIds {
  /** Those of the sequence of a text. */
  encode(text: string): readonly number[];
  /** The text that they stand for, special tokens left out. @throws UserError for one that the model does not have */
  decode(ids: readonly number[]): string;
}

/** A tokenizer with what the classification tasks need beside. */
export interface TextTokenizer<Sequence extends object = object> extends Tokenizer<Sequence> {
  /** Special tokens around a single text. */
  readonly specialTokens: number;
  /**
   * For texts that are to be paired with each of these: gives a text's pairs, in the order of `seconds`. Of a text
   * that is too long the beginning is kept, a second text is never cut.
   * @throws UserError when one of them leaves the text no room
   */
  pairsWith(seconds: readonly string[]): (text: string) => Sequence[];
  /**
   * For texts that are to be paired with this one: gives the pair of it and a text. Where both are too long for the model, the longer one is
   * cut, then both alike.
   */
  pairsOf(first: string): (second: string) => Sequence;
  /**
   * For texts of which it matters where their tokens stand: gives a text's sequence, as `encode` does, and the places of
   * those of its tokens that are not the special tokens around it; the first of these is number `opening`.
   * @throws UserError for a tokenizer of a kind of which that is not known; the function EngineError (`run`) for a text
   *   of which it cannot be told
   */
  withPlaces(): (text: string) => { ids: Sequence; places: readonly TokenPlace[]; opening: number };
  /** Tokens as people read them: the parts of words joined, and spaces between words. */
  join(tokens: readonly string[]): string;
}

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
