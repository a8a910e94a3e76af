/** Something to wait for, with a time limit. A signal given while nobody waits is kept for the next who does. */
export class Signal {
  #given = false;
  #wake: (() => void) | undefined;

  give(): void {
    this.#given = true;
    this.#wake?.();
  }

  /** Resolves at the next signal, at once if one was given since the last wait, or after `limitMs`. */
  async wait(limitMs: number): Promise<void> {
    if (!this.#given) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, limitMs);
        this.#wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
      this.#wake = undefined;
    }
    this.#given = false;
  }
}
