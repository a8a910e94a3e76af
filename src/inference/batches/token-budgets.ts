import type { BatchReport } from '../backend/batch-report.ts';
import type { SessionSpec } from '../backend/types.ts';
import type { BudgetMemory } from './budget-memory.ts';

/** Budgets that are compared, as multiples of the one to begin with. */
const candidates = [0.5, 1, 2];

/**
 * Batches of each budget that have to be seen before one is chosen. On a machine that others use too, a single batch
 * takes up to twice its usual time; the median of 24 wanders by a few percent.
 */
const wantedBatches = 24;

/**
 * Rows of a job from which on budgets are compared on it. An int8 model scales by the neighbours in a batch, so a small
 * job, which may be one that is looked at closely, gets the same batches each time.
 */
const largeJob = 1_024;

/** Batches of one budget that are kept while others have too few. */
const mostBatches = 1_000;

/** How much faster another budget has to be than the one to begin with, to be chosen. */
const wantedGain = 1.05;

/** Batches that fill a budget which had to be lowered, after which it is tried at twice its size again. */
const batchesUntilRaise = 64;

/** Part of the first budget below which it is not lowered: a small batch that was killed says little about memory. */
const leastShare = 1 / 16;

/** What is known of one session. */
interface Known {
  readonly session: SessionSpec;
  /** The budget to begin with. */
  readonly first: number;
  /** The budget that was chosen; undefined while budgets are compared. */
  chosen: number | undefined;
  /** Tokens a ms of the batches seen of each candidate. */
  readonly rates: Map<number, number[]>;
  /** The next candidate's place. */
  turn: number;
  /** Most tokens that memory allows, as far as is known, and good batches since. */
  ceiling: number;
  goodBatches: number;
}

/**
 * How many tokens a batch may have, padding included. The best number depends on the model and the machine (on a CPU
 * small batches stay in its cache), so it is found out: the batches of the first large job are cut under several
 * budgets in turn, which costs next to nothing, and the one that gives most tokens a second is kept, also for the next
 * process (`BudgetMemory`). What is compared are neighbours of like length in the same few seconds, so neither the texts
 * nor a machine that is busy for a while weigh on one candidate more than on another.
 */
export class TokenBudgets {
  readonly #firstOf: (session: SessionSpec) => number;
  readonly #fixed: boolean;
  readonly #memory: BudgetMemory;
  readonly #sessions = new Map<string, Known>();

  /**
   * @param firstOf the budget to begin with
   * @param fixed whether it is the only one: somebody has set it
   */
  constructor(firstOf: (session: SessionSpec) => number, fixed: boolean, memory: BudgetMemory) {
    this.#firstOf = firstOf;
    this.#fixed = fixed;
    this.#memory = memory;
  }

  /**
   * The budget for the next batch.
   * @param rows of the job that it is cut from; in a large one, while budgets are compared, each call gives another one
   */
  next(session: SessionSpec, rows: number): number {
    const known = this.#known(session);
    const budgets = rows < largeJob ? [known.first] : [...known.rates.keys()];
    const wanted = known.chosen ?? budgets[known.turn++ % budgets.length]!;
    return Math.min(wanted, known.ceiling);
  }

  /** Learns from a batch, if it is one of a session that was asked for here. */
  learn({ session, budget, tokens, paddedTokens, runMs }: BatchReport): void {
    const known = this.#sessions.get(session);
    if (!known) return;
    const fillsCeiling = paddedTokens >= known.ceiling / 2;
    if (fillsCeiling && ++known.goodBatches % batchesUntilRaise === 0) known.ceiling *= 2;
    const rates = budget === null ? undefined : known.rates.get(budget);
    // The last batch of a window is often a small one, and says nothing about its budget.
    if (known.chosen !== undefined || !rates || paddedTokens < budget! / 2) return;
    if (rates.length < mostBatches) rates.push(tokens / runMs);
    if ([...known.rates.values()].some(({ length }) => length < wantedBatches)) return;
    known.chosen = this.#best(known);
    this.#memory.save(known.session, known.chosen);
  }

  /** A batch of so many tokens did not find enough memory: the next ones have half of them at most. */
  lower(session: SessionSpec, tokens: number): void {
    const known = this.#known(session);
    const least = Math.max(1, Math.floor(known.first * leastShare));
    known.ceiling = Math.max(least, Math.min(known.ceiling, Math.floor(tokens / 2)));
    known.goodBatches = 0;
  }

  #known(session: SessionSpec): Known {
    let known = this.#sessions.get(session.key);
    if (!known) {
      const first = this.#firstOf(session);
      known = {
        session,
        first,
        chosen: this.#fixed ? first : this.#memory.load(session),
        rates: new Map(candidates.map((factor) => [Math.round(first * factor), []])),
        turn: 0,
        ceiling: Number.POSITIVE_INFINITY,
        goodBatches: 0,
      };
      this.#sessions.set(session.key, known);
    }
    return known;
  }

  #best({ rates, first }: Known): number {
    const usual = median(rates.get(first)!) * wantedGain;
    const others = [...rates].filter(([budget]) => budget !== first);
    const [budget, best] = others
      .map(([budget, list]) => [budget, median(list)] as const)
      .reduce((a, b) => (b[1] > a[1] ? b : a));
    return best > usual ? budget : first;
  }
}

function median(numbers: readonly number[]): number {
  const sorted = numbers.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1]!;
}
