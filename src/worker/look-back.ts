/** For transactions that were under way at the claim before: their jobs are as old as they are. */
const MARGIN_MS = 10_000;

/**
 * How far a claim looks back in the queue. While somebody's snapshot is old, the index keeps the jobs that are done, and to look
 * for the oldest one that is due reads them all. So a claim looks for what has become due since the last one that has left
 * nothing. What else there may be, of longer transactions, is found when all is looked at again, every few seconds.
 */
export class LookBack {
  /** When pipelines had nothing due any more. */
  readonly #drainedAt = new Map<number, number>();

  /** How many seconds a claim that begins now looks back for each of these pipelines; null: as far as there is anything. */
  seconds(pipelineIds: readonly number[], now: number): (number | null)[] {
    return pipelineIds.map((id) => {
      const drainedAt = this.#drainedAt.get(id);
      return drainedAt === undefined ? null : (now - drainedAt + MARGIN_MS) / 1_000;
    });
  }

  /** A claim that began then has left nothing that was due. */
  drained(pipelineIds: readonly number[], begin: number): void {
    for (const id of pipelineIds) this.#drainedAt.set(id, begin);
  }

  forget(): void {
    this.#drainedAt.clear();
  }
}
