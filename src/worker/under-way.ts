import { beginBatch, type Job } from '../queue/jobs.ts';
import { persist, type WorkerContext } from './context.ts';

/**
 * Says in the database what this worker works on, so that its death makes only that suspect: one statement a batch, before
 * any text of it is in memory.
 */
export class UnderWay {
  readonly #context: WorkerContext;
  #last = 0;
  /** Batches that have ended and of which the database does not know it yet. */
  #ended: number[] = [];

  constructor(context: WorkerContext) {
    this.#context = context;
  }

  /** Notes that jobs of one pipeline begin. Returns the number of the batch. */
  async begin(jobs: readonly Job[]): Promise<number> {
    const batch = ++this.#last;
    const ended = this.#ended.splice(0);
    const { database, claimant } = this.#context;
    await persist(this.#context, () => beginBatch(database, claimant, batch, jobs, ended));
    return batch;
  }

  /** Notes that a batch has ended: of what is still held of it, nothing can harm the worker any more. */
  end(batch: number): void {
    this.#ended.push(batch);
  }
}
