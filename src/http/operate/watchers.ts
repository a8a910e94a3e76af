import { setTimeout as wait } from 'node:timers/promises';
import type { Shown } from './shown.ts';

const LOOK_MS = 1_000;
/** Most pages that are told at once: each holds a connection. */
export const MOST_WATCHERS = 64;

/** Reads how everything is once a second, while somebody watches, for all who watch together. */
export class Watchers {
  readonly #read: () => Promise<Shown>;
  readonly #watching = new Set<(shown: Shown) => void>();
  readonly #ended = new AbortController();
  #last: Shown | undefined;
  #looking = false;

  constructor(read: () => Promise<Shown>) {
    this.#read = read;
  }

  get full(): boolean {
    return this.#watching.size >= MOST_WATCHERS;
  }

  /** Aborted when the server ends. */
  get ended(): AbortSignal {
    return this.#ended.signal;
  }

  /** Tells it from now on, at once if something is known. @returns what ends that */
  add(tell: (shown: Shown) => void): () => void {
    this.#watching.add(tell);
    if (this.#last) tell(this.#last);
    if (!this.#looking) void this.#look();
    return () => this.#watching.delete(tell);
  }

  close(): void {
    this.#ended.abort();
  }

  async #look(): Promise<void> {
    this.#looking = true;
    while (this.#watching.size > 0 && !this.#ended.signal.aborted) {
      this.#last = await this.#read();
      for (const tell of this.#watching) tell(this.#last);
      await wait(LOOK_MS, undefined, { signal: this.#ended.signal, ref: false }).catch(() => {});
    }
    this.#last = undefined;
    this.#looking = false;
  }
}
