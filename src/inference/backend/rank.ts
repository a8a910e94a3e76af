import type { RunOptions } from './types.ts';

/**
 * How soon a batch is due: `interactive` for a caller who waits for the answer, `normal` for the queue, `backfill` for
 * what nobody waits for. A lower number goes first.
 */
export const rank = { interactive: 0, normal: 1, backfill: 2 } as const;
export type Rank = (typeof rank)[keyof typeof rank];

export function rankOf({ ahead, behind }: RunOptions): Rank {
  return ahead ? rank.interactive : behind ? rank.backfill : rank.normal;
}
