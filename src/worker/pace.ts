/** Most rows of one statement, chunks counted one by one. From 512 on a larger one is no faster. */
export const ROWS_PER_STATEMENT = 512;
const FEWEST_ROWS = 16;
const STATEMENT_MS = 200;

/**
 * How many rows the statements have that write to a pipeline's target: fewer where they take long, such as into an index, since
 * whoever changes one of the rows waits for the end of the statement. One that has taken longer than 200 ms is followed by a smaller
 * one, one that has not by one of up to twice as many rows.
 */
export class Pace {
  /** By pipeline, where it is not ROWS_PER_STATEMENT. */
  readonly #most = new Map<number, number>();

  /** Most rows of a pipeline's next statement. */
  most(pipelineId: number): number {
    return this.#most.get(pipelineId) ?? ROWS_PER_STATEMENT;
  }

  /** Notes how long a statement took. */
  note(pipelineId: number, rows: number, ms: number): void {
    const most = this.most(pipelineId);
    if (ms > STATEMENT_MS)
      this.#most.set(pipelineId, Math.max(FEWEST_ROWS, Math.floor((rows * STATEMENT_MS) / ms)));
    else if (rows >= most) this.#most.set(pipelineId, Math.min(ROWS_PER_STATEMENT, 2 * most));
  }
}
