/** A vector of which most numbers are 0, by those that are not. */
export interface SparseVector {
  /** Numbers in it, those that are 0 included. */
  readonly dimensions: number;
  /** Places of the numbers that are not 0, from 0 and upwards: ids of tokens, where a masked language model gave it. */
  readonly indices: Int32Array;
  /** These numbers, in the same order. */
  readonly values: Float32Array;
}
