/** The exit code of a process that a signal has ended, as shells report it: 128 + the signal's number. */
const EXIT_CODES = { SIGINT: 130, SIGTERM: 143 } as const;

type StopSignal = keyof typeof EXIT_CODES;

/**
 * SIGINT and SIGTERM, for commands that have something to finish: the first asks them to stop, by `signal`; a second
 * one ends the process at once.
 */
export class StopSignals {
  readonly #controller = new AbortController();
  readonly #hear = (name: StopSignal) => {
    if (this.#controller.signal.aborted) process.exit(EXIT_CODES[name]);
    this.#controller.abort(new Error(`stopped by ${name}`));
  };

  constructor() {
    for (const name of Object.keys(EXIT_CODES)) process.on(name, this.#hear);
  }

  /** Aborted by the first signal. */
  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** Whether the first signal has come. */
  get stopped(): boolean {
    return this.#controller.signal.aborted;
  }

  /** Resolves at the first signal. */
  wait(): Promise<void> {
    return new Promise((resolve) => {
      if (this.stopped) resolve();
      else this.signal.addEventListener('abort', () => resolve(), { once: true });
    });
  }

  /** Gives the signals back to Node: the next one ends the process. */
  dispose(): void {
    for (const name of Object.keys(EXIT_CODES)) process.off(name, this.#hear);
  }
}
