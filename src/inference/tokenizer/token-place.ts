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
