import { beginBatch, type Job } from '../queue/jobs.ts';
import { persist, type WorkerContext } from './context.ts';

/**
 * Notes in the database what this worker works on, so that only these rows are suspect if it dies: one statement for each
 * batch, before a long text of it is in memory.
 */
export class UnderWay {
  readonly #context: WorkerContext;
  #last = 0;
  /** Batches that have ended, which the database does not know yet. */
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

  /** Notes that a batch has ended: rows of it that are still held can no longer harm the worker. */
  end(batch: number): void {
    this.#ended.push(batch);
  }
}
