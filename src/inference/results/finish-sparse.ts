import type { SparsePooling } from '../../model-files/description.ts';
import type { BatchValues } from './finish-vectors.ts';

/** What leaves the session of a model with sparse vectors: of each row, the part that is not 0. */
export interface SparseValues extends BatchValues {
  /** How many of `values` are each row's: twice the numbers that are not 0, since each comes after its place. */
  readonly sizes: Int32Array;
}

/**
 * Takes the part of a batch's output that is above 0, and does what the graph has left: ln(1 + x) in float64, once or twice.
 *
 * @param output rows x vocabulary: with the pooling `max` logits, with `sum` finished numbers
 * @returns place and number, one after the other, by place; a float32 holds places up to 2^24
 */
export function finishSparse(
  output: Float32Array,
  rows: number,
  { pooling, activation }: SparsePooling,
): SparseValues {
  const activate = pooling === 'sum' ? identity : activation === 'relu' ? Math.log1p : log1pTwice;
  const width = output.length / rows;
  const sizes = new Int32Array(rows);
  const notFinite: number[] = [];
  const pairs: number[] = [];
  for (let row = 0; row < rows; row++) {
    const before = pairs.length;
    const from = row * width;
    let finite = true;
    for (let place = 0; place < width; place++) {
      const value = output[from + place]!;
      if (value > 0) pairs.push(place, activate(value));
      // NaN is neither above 0 nor below it; a padded row's -Infinity is.
      finite &&= value <= LARGEST;
    }
    if (!finite) notFinite.push(row);
    sizes[row] = pairs.length - before;
  }
  return { values: Float32Array.from(pairs), notFinite, sizes };
}

const LARGEST = Number.MAX_VALUE;
const identity = (value: number) => value;
const log1pTwice = (value: number) => Math.log1p(Math.log1p(value));
