/** A batch's numbers, one row after the other, and the rows of which they are of no use. */
export interface BatchValues {
  readonly values: Float32Array;
  readonly notFinite: number[];
}

/** How the session's output becomes the row's vector. */
export interface Finish {
  /** Scale to length 1. */
  readonly normalize: boolean;
  /** What the output is still to be divided by, for a row of so many tokens. */
  divisor(tokens: number): number;
}

/**
 * Turns a batch's output into vectors, in float64 and in place.
 *
 * @param output rows x dimensions; it is overwritten
 * @param lengths tokens of each row
 * @returns the same array, and the rows that hold NaN or an infinity, or that cannot be scaled since they are zero
 */
export function finishVectors(output: Float32Array, lengths: Int32Array, finish: Finish): BatchValues {
  const dimensions = output.length / lengths.length;
  const notFinite: number[] = [];
  lengths.forEach((length, row) => {
    const vector = output.subarray(row * dimensions, (row + 1) * dimensions);
    let squares = 0;
    for (const value of vector) {
      squares += value * value;
    }
    // A mean has the direction of its sum, so scaling makes the division superfluous.
    const divisor = finish.normalize ? Math.sqrt(squares) : finish.divisor(length);
    if (!Number.isFinite(squares) || divisor === 0) {
      notFinite.push(row);
    } else if (divisor !== 1) {
      for (let index = 0; index < dimensions; index++) {
        vector[index] = vector[index]! / divisor;
      }
    }
  });
  return { values: output, notFinite };
}
