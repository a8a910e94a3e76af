/** Rows that share a batch, and the budget it was cut under. */
export interface Cut {
  readonly rows: readonly number[];
  readonly budget: number;
}

/**
 * Sorts rows by length and cuts them into batches of at most so many tokens, padding included, that rows of
 * like length share a batch and little of it is padding. A row that is longer than the budget is a batch of its own.
 *
 * The longest come first: memory reaches its peak at the start, where a model that does not fit shows at once, and
 * the last batches are the short ones, so that the device is not left waiting for a single long one at the end.
 *
 * @param lengths tokens of each row
 * @param nextBudget asked for each batch
 * @returns the indices of `lengths`, each exactly once; rows of equal length keep their order
 */
export function cutBatches(lengths: ArrayLike<number>, nextBudget: () => number): Cut[] {
  const order = Array.from({ length: lengths.length }, (_, index) => index);
  order.sort((a, b) => lengths[b]! - lengths[a]! || a - b);
  const batches: Cut[] = [];
  let next = 0;
  while (next < order.length) {
    const longest = Math.max(1, lengths[order[next]!]!);
    const budget = nextBudget();
    const rows = Math.max(1, Math.floor(budget / longest));
    batches.push({ rows: order.slice(next, next + rows), budget });
    next += rows;
  }
  return batches;
}
