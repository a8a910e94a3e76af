/** Two texts as one sequence; a model that tells them apart takes a token type for each token. */
export interface PairTokens {
  readonly ids: Int32Array;
  /** Place of the first token of type 1; those before it are of type 0. */
  readonly secondFrom: number;
}

/** The token ids of a text or of a pair of texts, special tokens included. */
export type TokenSequence = Int32Array | PairTokens;

export function idsOf(sequence: TokenSequence): Int32Array {
  return sequence instanceof Int32Array ? sequence : sequence.ids;
}

/** Place of the first token of type 1. A single text has only tokens of type 0, so it is the place after the last one. */
export function secondFrom(sequence: TokenSequence): number {
  return sequence instanceof Int32Array ? sequence.length : sequence.secondFrom;
}
