import { idsOf, secondFrom, type TokenSequence } from '../tokenizer/token-sequence.ts';
import type { BatchTokens } from '../wire/batch-tokens.ts';

/** Sequences as the flat arrays that are sent. */
export function flatten(sequences: readonly TokenSequence[]): BatchTokens {
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

/** Each sequence's part of a batch's numbers: the same for every sequence, or the same for every token. */
export function splitValues(values: Float32Array, lengths: Int32Array, perToken: boolean): Float32Array[] {
  const sets = perToken ? lengths.reduce((sum, length) => sum + length, 0) : lengths.length;
  const size = values.length / sets;
  let at = 0;
  return Array.from(lengths, (length) => {
    const from = at;
    at += size * (perToken ? length : 1);
    return values.subarray(from, at);
  });
}

/** The same where each sequence has a number of its own of them. */
export function splitBySizes(values: Float32Array, sizes: Int32Array): Float32Array[] {
  let at = 0;
  return Array.from(sizes, (size) => {
    at += size;
    return values.subarray(at - size, at);
  });
}
