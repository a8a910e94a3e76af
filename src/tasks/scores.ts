import type { LabelResult } from './results.ts';

/** Shares of 1, in float64. The largest logit is taken off first, so that nothing overflows. */
export function softmax(logits: ArrayLike<number>): number[] {
  const all = Array.from(logits);
  const largest = all.reduce((most, logit) => Math.max(most, logit), Number.NEGATIVE_INFINITY);
  const powers = all.map((logit) => Math.exp(logit - largest));
  const sum = powers.reduce((total, power) => total + power, 0);
  return powers.map((power) => power / sum);
}

export function sigmoid(logit: number): number {
  return 1 / (1 + Math.exp(-logit));
}

/** Place of the largest number, the first of equals. */
export function largestAt(numbers: readonly number[]): number {
  return numbers.reduce((best, number, index) => (number > numbers[best]! ? index : best), 0);
}

/** Labels with their scores as a result: the best one, and the `topK` best (all by default) in detail. */
export function ranked(
  labels: readonly string[],
  scores: readonly number[],
  topK = labels.length,
): LabelResult {
  const order = labels.map((_, index) => index).sort((a, b) => scores[b]! - scores[a]! || a - b);
  const best = order[0]!;
  return {
    label: labels[best]!,
    score: scores[best]!,
    detail: Object.fromEntries(order.slice(0, topK).map((index) => [labels[index]!, scores[index]!])),
  };
}
