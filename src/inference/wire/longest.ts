/** Tokens of the longest row, and at least 1. */
export function longestOf(lengths: Int32Array): number {
  return lengths.reduce((most, length) => Math.max(most, length), 1);
}
