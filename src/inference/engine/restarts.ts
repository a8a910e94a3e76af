import type { EngineError } from '../backend/engine-error.ts';
import type { SessionSpec } from '../wire/session-spec.ts';
import { diedInLoad, notLoadedIn, startFailed } from './engine-failures.ts';
import type { RunnerEnd } from './runner.ts';

/** Ends in a row, without anything done in between, from which on starts are delayed. */
const DEATHS_BEFORE_DELAY = 3;

/** Ends in a row before the model was loaded that show that the installation is broken. */
const FAILED_STARTS_UNTIL_BLAME = 3;

/** Ends while the model was loaded from which on it is the model's fault: the first may have come from outside. */
const DEATHS_IN_LOAD_UNTIL_BLAME = 2;

/** The first delay, doubled with each further end, and the longest; in ms. */
const FIRST_DELAY_MS = 250;
const LONGEST_DELAY_MS = 10_000;

/** Keeps account of how the processes of a session end, and says when it is time to wait or to give up. */
export class Restarts {
  readonly #spec: SessionSpec;
  readonly #loadTimeoutMs: number;
  /** Each in a row. */
  #deaths = 0;
  #failedStarts = 0;
  #deathsInLoad = 0;

  constructor(spec: SessionSpec, loadTimeoutMs: number) {
    this.#spec = spec;
    this.#loadTimeoutMs = loadTimeoutMs;
  }

  /** How long the next start has to wait; in ms. */
  get delayMs(): number {
    const excess = this.#deaths - DEATHS_BEFORE_DELAY;
    return excess < 0 ? 0 : Math.min(LONGEST_DELAY_MS, FIRST_DELAY_MS * 2 ** excess);
  }

  /** A model was loaded. */
  loaded(): void {
    this.#deathsInLoad = 0;
    this.#failedStarts = 0;
  }

  /** A batch was answered. */
  worked(): void {
    this.#deaths = 0;
  }

  /**
   * A process ended.
   * @param wanted whether there was work for it
   * @returns the error of all that wait, if it is time to give up
   */
  ended({ exit, phase, timedOut }: RunnerEnd, wanted: boolean): (() => EngineError) | undefined {
    if (!wanted) return undefined;
    this.#deaths++;
    if (phase === 'loading') {
      this.#deathsInLoad++;
      if (!timedOut && this.#deathsInLoad < DEATHS_IN_LOAD_UNTIL_BLAME) return undefined;
      this.#deathsInLoad = 0;
      return () => (timedOut ? notLoadedIn(this.#loadTimeoutMs, this.#spec) : diedInLoad(exit, this.#spec));
    }
    if (phase === 'starting') {
      const times = ++this.#failedStarts;
      return times < FAILED_STARTS_UNTIL_BLAME ? undefined : () => startFailed(exit, times);
    }
    return undefined;
  }
}
