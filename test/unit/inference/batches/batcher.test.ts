import { describe, expect, it } from 'vitest';
import { cutBatches as cut } from '../../../../src/inference/batches/batcher.ts';

/** The places of the lengths in the batches. */
const cutBatches = (
  lengths: readonly number[],
  tokenBudget: number,
  mostSequences = Number.POSITIVE_INFINITY,
) => cut([...lengths.keys()], (place) => lengths[place]!, { tokenBudget, mostSequences });

describe('cutBatches', () => {
  it('puts rows of like length together, the longest first', () => {
    expect(cutBatches([3, 10, 4, 9, 3], 20)).toEqual([
      [1, 3],
      [2, 0, 4],
    ]);
  });

  it('keeps rows x longest within the budget and each row once, for any lengths', () => {
    const lengths = Array.from({ length: 500 }, (_, index) => 1 + ((index * 7919) % 256));
    for (const budget of [1, 255, 256, 257, 1024, 1e6]) {
      const batches = cutBatches(lengths, budget);
      expect(batches.flat().sort((a, b) => a - b)).toEqual(lengths.map((_, index) => index));
      for (const batch of batches) {
        const longest = Math.max(...batch.map((row) => lengths[row]!));
        expect(batch.length === 1 || batch.length * longest <= budget).toBe(true);
      }
      const order = batches.flat().map((row) => lengths[row]!);
      expect(order).toEqual([...order].sort((a, b) => b - a));
    }
  });

  it('gives a row over the budget a batch of its own', () => {
    expect(cutBatches([5, 11, 5], 10)).toEqual([[1], [0, 2]]);
  });

  it('fills a batch up to the budget exactly', () => {
    expect(cutBatches([5, 5, 5], 10)).toEqual([[0, 1], [2]]);
    expect(cutBatches([5, 5, 5], 14)).toEqual([[0, 1], [2]]);
    expect(cutBatches([5, 5, 5], 15)).toEqual([[0, 1, 2]]);
  });

  it('keeps to the most sequences that a batch may have', () => {
    expect(cutBatches([1, 5, 3, 2, 4], 1_000, 2)).toEqual([[1, 4], [2, 3], [0]]);
  });

  it('takes no rows, and rows without tokens', () => {
    expect(cutBatches([], 10)).toEqual([]);
    expect(cutBatches([0, 0], 10)).toEqual([[0, 1]]);
  });
});
