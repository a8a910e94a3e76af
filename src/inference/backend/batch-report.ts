import type { Rank } from './rank.ts';

/** What there is to say of a batch that was run. */
export interface BatchReport {
  /** Key and model of the session. */
  readonly session: string;
  readonly model: string;
  readonly rank: Rank;
  readonly rows: number;
  /** Tokens of the rows, special tokens included, and what they came to with padding. */
  readonly tokens: number;
  readonly paddedTokens: number;
  /** From the moment it was asked for until it was with the process, and what the run itself took; in ms. */
  readonly waitMs: number;
  readonly runMs: number;
  /** The token budget that it was cut under; null when it was not cut, or put together from several calls. */
  readonly budget: number | null;
}
