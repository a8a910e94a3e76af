import { messageOf } from '../errors.ts';
import { setIdle } from '../queue/workers.ts';
import { persist, type WorkerContext } from './context.ts';

/** The mark on the register that this worker sleeps, which makes triggers notify. */
export class IdleMark {
  readonly #context: WorkerContext;
  /** The number under which the register has this worker as idle; undefined while it is busy. */
  #markedAs: number | undefined;
  #written: Promise<unknown> = Promise.resolve();

  constructor(context: WorkerContext) {
    this.#context = context;
  }

  /** Compared by number: a worker that was taken for dead has a new row on the register, which lacks the mark. */
  get isSet(): boolean {
    return this.#markedAs === this.#context.claimant.workerId;
  }

  /** Resolves when the register has it. */
  async set(): Promise<void> {
    this.#write(true);
    await this.#written;
  }

  /** Jobs do not wait until this is written; the next change of the mark does. */
  clear(): void {
    this.#write(false);
  }

  /** Resolves when all changes are written, or have failed. */
  async settled(): Promise<void> {
    await this.#written;
  }

  #write(idle: boolean): void {
    const { database, claimant } = this.#context;
    const markedAs = idle ? claimant.workerId : undefined;
    if (markedAs === this.#markedAs) return;
    this.#markedAs = markedAs;
    this.#written = this.#written
      .then(() => persist(this.#context, () => setIdle(database, claimant.workerId, idle)))
      .catch((error: unknown) => {
        this.#context.logger.warn({ reason: messageOf(error) }, 'could not write the idle mark');
        // Nobody would notify a worker that only believes it is marked.
        if (this.#markedAs === markedAs) this.#markedAs = undefined;
      });
  }
}
