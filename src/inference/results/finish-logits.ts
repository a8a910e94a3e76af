import type { BatchValues } from './finish-vectors.ts';

/**
 * Takes the padding out of a batch's logits, in place.
 *
 * @param output rows x labels, or with `perToken` rows x longest row x labels; it is overwritten
 * @param lengths tokens of each row
 * @param longest tokens of the longest row
 * @returns for each row its labels, or those of each of its tokens; and the rows that hold NaN or an infinity
 */
export function finishLogits(
  output: Float32Array,
  lengths: Int32Array,
  longest: number,
  perToken: boolean,
): BatchValues {
  const stride = output.length / lengths.length;
  const labels = perToken ? stride / longest : stride;
  const notFinite: number[] = [];
  let at = 0;
  lengths.forEach((length, row) => {
    const from = row * stride;
    const end = from + labels * (perToken ? length : 1);
    if (!output.subarray(from, end).every(Number.isFinite)) {
      notFinite.push(row);
    }
    // Rows only move towards the front, over padding and what was moved already.
    output.copyWithin(at, from, end);
    at += end - from;
  });
  return { values: output.subarray(0, at), notFinite };
}
