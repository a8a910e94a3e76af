/** The sequences of a batch, flat: two arrays cost less to send than one for each sequence. */
export interface BatchTokens {
  /** Tokens of each sequence. */
  readonly lengths: Int32Array;
  /** Token ids of all sequences, one after the other. */
  readonly ids: Int32Array;
  /** Where the tokens of type 1 begin in each sequence; null when there are none. */
  readonly secondFrom: Int32Array | null;
}

/** Tokens of the longest sequence, and at least 1. */
export function longestOf(lengths: Int32Array): number {
  return lengths.reduce((most, length) => Math.max(most, length), 1);
}
