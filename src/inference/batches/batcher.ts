import type { BatchPlan } from '../backend/backend.ts';

/**
 * Sorts items by the tokens of their sequences and cuts them into batches, so that those of like length share one and
 * little of it is padding. A sequence that is longer than the budget is a batch of its own.
 *
 * The longest come first: memory reaches its peak at the start, where a model that does not fit shows at once, and
 * the last batches are the short ones, so that the device is not left waiting for a single long one at the end.
 *
 * @returns each item exactly once; those of equal length keep their order
 */
export function cutBatches<Item>(
  items: readonly Item[],
  tokensOf: (item: Item) => number,
  { tokenBudget, mostSequences }: BatchPlan,
): Item[][] {
  const sorted = items.map((item) => ({ item, tokens: tokensOf(item) })).sort((a, b) => b.tokens - a.tokens);
  const batches: Item[][] = [];
  let next = 0;
  while (next < sorted.length) {
    const longest = Math.max(1, sorted[next]!.tokens);
    const size = Math.max(1, Math.min(mostSequences, Math.floor(tokenBudget / longest)));
    batches.push(sorted.slice(next, next + size).map(({ item }) => item));
    next += size;
  }
  return batches;
}
