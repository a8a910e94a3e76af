import { idsOf, type Sequence } from '../backend/types.ts';

/** The rows of a batch, flat: two arrays cost less to send than one for each row. */
export interface BatchTokens {
  /** Tokens of each row. */
  readonly lengths: Int32Array;
  /** Token ids of all rows, one row after the other. */
  readonly ids: Int32Array;
  /** Where the tokens of type 1 begin in each row; null when there are none. */
  readonly secondFrom: Int32Array | null;
}

/** Each row's part of a batch's numbers: the same for every row, or the same for every token. */
export function splitRows(values: Float32Array, lengths: Int32Array, perToken: boolean): Float32Array[] {
  const sets = perToken ? lengths.reduce((sum, length) => sum + length, 0) : lengths.length;
  const size = values.length / sets;
  let at = 0;
  return Array.from(lengths, (length) => {
    const from = at;
    at += size * (perToken ? length : 1);
    return values.subarray(from, at);
  });
}

/** Rows as the flat arrays that are sent. */
export function flatten(sequences: readonly Sequence[]): BatchTokens {
  const lengths = Int32Array.from(sequences, (sequence) => idsOf(sequence).length);
  const ids = new Int32Array(lengths.reduce((sum, length) => sum + length, 0));
  let at = 0;
  for (const sequence of sequences) {
    ids.set(idsOf(sequence), at);
    at += idsOf(sequence).length;
  }
  const pairs = sequences.some((sequence) => !(sequence instanceof Int32Array));
  return { lengths, ids, secondFrom: pairs ? Int32Array.from(sequences, secondFrom) : null };
}

function secondFrom(sequence: Sequence): number {
  return sequence instanceof Int32Array ? sequence.length : sequence.secondFrom;
}
