/** A vector of which most numbers are 0, by those that are not. */
export interface SparseVector {
  /** Numbers in it, those that are 0 included. */
  readonly dimensions: number;
  /** Places of the numbers that are not 0, from 0 and upwards: ids of tokens, where a masked language model gave it. */
  readonly indices: Int32Array;
  /** These numbers, in the same order. */
  readonly values: Float32Array;
}

/**
 * A sparse vector as pgvector's text, `{1:0.5,7:1.25}/600`: there places count from 1. Without any number it is `{}/600`.
 * @param shown how a number is written. Default: with all its digits
 */
export function sparseText(
  { dimensions, indices, values }: SparseVector,
  shown: (value: number) => number = asItIs,
): string {
  const pairs = Array.from(indices, (index, place) => `${index + 1}:${shown(values[place]!)}`);
  return `{${pairs.join(',')}}/${dimensions}`;
}

const asItIs = (value: number) => value;
