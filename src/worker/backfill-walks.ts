import { setTimeout as wait } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import { backfillsDue, claimBackfill, type Job } from '../queue/jobs.ts';
import { persist, type WorkerContext } from './context.ts';
import { describe } from './describe.ts';
import { inTime } from './lanes.ts';
import type { ServedPipelines } from './served-pipelines.ts';

/** How long the claim loop waits for rows out of a backfill before it looks for jobs again. */
const WALK_MS = 100;
/** How long a worker that stops waits for a walk. */
const LAST_WALK_MS = 1_000;

/** What a walk has found: rows; nothing; or nothing yet, and there is more to walk. */
type Outcome = 'rows' | 'none' | 'more';

/**
 * Takes rows out of backfills. A walk runs code of the pipeline's owner, in a filter or a condition: so each statement is for
 * one pipeline alone, and nobody waits for one that takes long.
 */
export class BackfillWalks {
  readonly #context: WorkerContext;
  readonly #pipelines: ServedPipelines;
  readonly #window: number;
  readonly #take: (jobs: Job[], ms: number) => void;
  readonly #onEnd: () => void;
  /** Those that are under way, by pipeline. */
  readonly #walks = new Map<number, Promise<Outcome>>();
  #stopping = false;

  /**
   * @param window the most rows of a walk
   * @param take called with the rows that a walk has found, and how long it took
   * @param onEnd called when a walk has ended
   */
  constructor(
    context: WorkerContext,
    pipelines: ServedPipelines,
    options: { window: number; take: (jobs: Job[], ms: number) => void; onEnd: () => void },
  ) {
    this.#context = context;
    this.#pipelines = pipelines;
    this.#window = options.window;
    this.#take = options.take;
    this.#onEnd = options.onEnd;
  }

  /** How many are under way. */
  get size(): number {
    return this.#walks.size;
  }

  /**
   * Goes on with the backfills that are due, one pipeline after the other, until one has given rows.
   * @returns whether there is reason to look again in a moment
   */
  async goOn(pipelineIds: readonly number[]): Promise<boolean> {
    const { database } = this.#context;
    let again = false;
    for (const { pipelineId, soon } of await persist(this.#context, () =>
      backfillsDue(database, pipelineIds),
    )) {
      again ||= soon;
      if (soon || this.#walks.has(pipelineId)) continue;
      const outcome = await Promise.race([this.#start(pipelineId), wait(WALK_MS, 'slow' as const)]);
      if (outcome === 'rows') return true;
      again ||= outcome !== 'none';
    }
    return again;
  }

  /** Rows that are found from now on are left to whoever frees them: this worker goes off the register. */
  stop(): void {
    this.#stopping = true;
  }

  /** Resolves when all have ended, or have had a second to. */
  async ended(): Promise<void> {
    if (this.#walks.size > 0) await Promise.race([Promise.all(this.#walks.values()), wait(LAST_WALK_MS)]);
  }

  #start(pipelineId: number): Promise<Outcome> {
    const walk = this.#walk(pipelineId).finally(() => {
      this.#walks.delete(pipelineId);
      this.#onEnd();
    });
    this.#walks.set(pipelineId, walk);
    return walk;
  }

  async #walk(pipelineId: number): Promise<Outcome> {
    const { tables, claimant, lanes } = this.#context;
    const begin = performance.now();
    try {
      const { jobs, more } = await lanes.run(pipelineId, () =>
        persist(this.#context, () =>
          inTime('looking for rows of its backfill', () =>
            claimBackfill(tables, claimant, [pipelineId], this.#window),
          ),
        ),
      );
      await this.#pipelines.walked(pipelineId);
      if (jobs.length === 0) return more ? 'more' : 'none';
      if (!this.#stopping) this.#take(jobs, performance.now() - begin);
      return 'rows';
    } catch (error) {
      if (this.#context.signal.aborted) return 'none';
      const problem = `its backfill does not go on: ${describe(error)}`;
      await this.#pipelines
        .walked(pipelineId, problem)
        .catch((failure: unknown) => this.#context.logger.error({ reason: messageOf(failure) }, problem));
      return 'none';
    }
  }
}
