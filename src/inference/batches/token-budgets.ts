import type { BatchPlan } from '../backend/backend.ts';
import type { BatchReport } from '../backend/events.ts';
import type { BackendSession } from '../backend/session.ts';

/** Batches that fill a budget which had to be lowered, after which it is tried at twice its size again. */
const BATCHES_UNTIL_RAISE = 64;

/** Part of a budget below which it is not lowered: a small batch that was killed says little about memory. */
const LEAST_SHARE = 1 / 16;

/** Most tokens that memory allows, as far as is known, and good batches since. */
interface Ceiling {
  tokens: number;
  goodBatches: number;
}

/** How many tokens a batch of a session may have: what its plan or a setting says, and less where memory did not suffice. */
export class TokenBudgets {
  readonly #fixed: number | undefined;
  /** By the sessions' keys; only of those for which it was too much. */
  readonly #ceilings = new Map<string, Ceiling>();

  /** @param fixed of all sessions, in place of what their plans say */
  constructor(fixed: number | undefined) {
    this.#fixed = fixed;
  }

  /** The plan with the budget that holds now. */
  apply(plan: BatchPlan, { key }: BackendSession): BatchPlan {
    const ceiling = this.#ceilings.get(key)?.tokens ?? Number.POSITIVE_INFINITY;
    return { ...plan, tokenBudget: Math.min(this.#fixed ?? plan.tokenBudget, ceiling) };
  }

  /** A batch of so many tokens did not find enough memory: the next ones have half of them at most. */
  lower(plan: BatchPlan, { key }: BackendSession, tokens: number): void {
    const least = Math.max(1, Math.floor((this.#fixed ?? plan.tokenBudget) * LEAST_SHARE));
    const before = this.#ceilings.get(key)?.tokens ?? Number.POSITIVE_INFINITY;
    this.#ceilings.set(key, {
      tokens: Math.max(least, Math.min(before, Math.floor(tokens / 2))),
      goodBatches: 0,
    });
  }

  /** Learns from a batch that went well. */
  learn({ session, paddedTokens }: BatchReport): void {
    const ceiling = this.#ceilings.get(session);
    if (!ceiling || paddedTokens < ceiling.tokens / 2) return;
    if (++ceiling.goodBatches % BATCHES_UNTIL_RAISE === 0) ceiling.tokens *= 2;
  }
}
