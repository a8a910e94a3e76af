/**
 * How soon something is due: `interactive` for a caller who waits for the answer, `normal` for the queue, `backfill` for
 * what nobody waits for.
 */
export const PRIORITIES = ['interactive', 'normal', 'backfill'] as const;
export type Priority = (typeof PRIORITIES)[number];

/** Sorts by priority, what is due sooner first. */
export function comparePriority(a: Priority, b: Priority): number {
  return PRIORITIES.indexOf(a) - PRIORITIES.indexOf(b);
}
