import { isAnswerTimeout, QUERY_CANCELED } from '../database/errors.ts';
import { codeOf, UserError } from '../errors.ts';
import { PIPELINE_STATEMENT_MS } from './pools.ts';

/** Statements on the tables of one pipeline at once. */
const LANES = 2;
/** After this a pipeline counts as slow. */
const SLOW_MS = 3_000;

/** A statement on a pipeline's tables was ended, since it took too long. */
export class TooSlowError extends UserError {}

/**
 * Statements on the tables of pipelines, two at a time of each: a filter, a trigger or an index that takes long holds up its
 * own pipeline and no other. So does a server elsewhere that runs its model.
 */
export class Lanes {
  /** When the work under way of each pipeline began. */
  readonly #running = new Map<number, Set<number>>();
  readonly #waiting = new Map<number, (() => void)[]>();
  /** When each wait for something elsewhere began, and for which pipelines it is. */
  readonly #elsewhere = new Set<{ readonly begin: number; readonly pipelines: Iterable<number> }>();

  /** Runs work when the pipeline has a lane free. @throws TooSlowError when its statement was ended for its time */
  async run<Result>(pipelineId: number, work: () => Promise<Result>): Promise<Result> {
    const running = this.#running.get(pipelineId) ?? new Set<number>();
    this.#running.set(pipelineId, running);
    while (running.size >= LANES)
      await new Promise<void>((resolve) => {
        this.#waiting.set(pipelineId, [...(this.#waiting.get(pipelineId) ?? []), resolve]);
      });
    const begin = performance.now();
    running.add(begin);
    try {
      return await work();
    } finally {
      running.delete(begin);
      this.#waiting.get(pipelineId)?.shift()?.();
    }
  }

  /** Waits for something elsewhere that pipelines need; as often at once as it likes. */
  async waiting<Result>(pipelines: Iterable<number>, work: () => Promise<Result>): Promise<Result> {
    const wait = { begin: performance.now(), pipelines };
    this.#elsewhere.add(wait);
    try {
      return await work();
    } finally {
      this.#elsewhere.delete(wait);
    }
  }

  /** The pipelines that have been at the same statement or wait for seconds: no more of their jobs are to be claimed. */
  slow(): Set<number> {
    const since = performance.now() - SLOW_MS;
    const slow = new Set<number>();
    for (const { begin, pipelines } of this.#elsewhere)
      if (begin < since) for (const id of pipelines) slow.add(id);
    for (const [id, running] of this.#running) if (Math.min(...running) < since) slow.add(id);
    return slow;
  }
}

/** Runs a statement on a pipeline's tables. @throws TooSlowError when it was ended for its time */
export async function inTime<Result>(what: string, statement: () => Promise<Result>): Promise<Result> {
  try {
    return await statement();
  } catch (error) {
    if (codeOf(error) !== QUERY_CANCELED && !isAnswerTimeout(error)) throw error;
    throw new TooSlowError(`${what} was ended after ${PIPELINE_STATEMENT_MS / 1_000} s`, {
      hint: 'Look for a slow filter, a slow trigger on the target, or somebody who cancels statements.',
      cause: error,
    });
  }
}
