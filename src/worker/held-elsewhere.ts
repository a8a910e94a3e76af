import { leasedElsewhere } from '../queue/jobs.ts';
import { persist, type WorkerContext } from './context.ts';

/** At the end of a drain: the rows that other workers hold, and whether these workers live. */
export class HeldElsewhere {
  readonly #context: WorkerContext;
  /** The first sign of life that was seen of each of them. */
  readonly #firstBeats = new Map<number, number>();
  #rows = 0;

  constructor(context: WorkerContext) {
    this.#context = context;
  }

  /** How many rows they held at the last look. */
  get rows(): number {
    return this.#rows;
  }

  /**
   * Whether all of them live, which is known of a worker when a second sign of life has come from it. What a dead one
   * holds is freed by the heartbeat's rescue, and is due then.
   */
  async byLivingOnly(): Promise<boolean> {
    const { database, claimant } = this.#context;
    const held = await persist(this.#context, () => leasedElsewhere(database, claimant));
    this.#rows = held.reduce((sum, { rows }) => sum + rows, 0);
    const unsure = held.filter(({ worker, beatAt }) => {
      if (beatAt === null) return true;
      const first = this.#firstBeats.get(worker) ?? beatAt.getTime();
      this.#firstBeats.set(worker, first);
      return beatAt.getTime() === first;
    });
    return unsure.length === 0;
  }
}
