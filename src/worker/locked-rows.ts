import type { Job } from '../queue/jobs.ts';

const FIRST_SECONDS = 5;
const LIMIT_SECONDS = 300;
/** The delays of so many rows are known; beyond that all begin again. */
const MOST_ROWS = 100_000;

/**
 * How long rows wait that somebody else had locked when their results were to be written: 5 s, and then twice as long each time, up to
 * 5 minutes, since each time they are embedded in vain. So a row waits about as long again as it was locked.
 */
export class LockedRows {
  readonly #seconds = new Map<string, number>();

  /** The delay of a row that is locked, once more. */
  delay(job: Job): number {
    const key = keyOf(job.pipelineId, job.rowKey);
    const before = this.#seconds.get(key);
    const seconds = before === undefined ? FIRST_SECONDS : Math.min(2 * before, LIMIT_SECONDS);
    if (this.#seconds.size >= MOST_ROWS) this.#seconds.clear();
    this.#seconds.set(key, seconds);
    return seconds;
  }

  /** These rows were not locked. */
  free(pipelineId: number, rowKeys: Iterable<string>): void {
    if (this.#seconds.size === 0) return;
    for (const rowKey of rowKeys) this.#seconds.delete(keyOf(pipelineId, rowKey));
  }
}

function keyOf(pipelineId: number, rowKey: string): string {
  return `${pipelineId} ${rowKey}`;
}
