import { bisect } from '../bisect.ts';
import { isRowError } from '../database/errors.ts';
import { groupBy } from '../group-by.ts';
import type { TextEmbedder } from '../inference/embedder.ts';
import { EngineError } from '../inference/engine-error.ts';
import { sessionSpec } from '../inference/session-spec.ts';
import { readInputs } from '../queue/batch.ts';
import type { Job } from '../queue/jobs.ts';
import { persist, type WorkerContext } from './context.ts';
import type { Registry, ServedPipeline } from './registry.ts';
import type { Failure, Setbacks } from './setbacks.ts';
import type { Writer } from './writer.ts';

/** A job with the text that is to be embedded, its pipeline's prompt in front. */
interface Row {
  readonly served: ServedPipeline;
  readonly job: Job;
  readonly text: string;
}

/**
 * Characters read for each token that the model takes. A word of more than 100 characters is one unknown token to
 * WordPiece, so no text needs more than this many to fill the model's length, blanks aside.
 */
const CHARACTERS_PER_TOKEN = 100;

/**
 * Works on a window of claimed jobs: reads their texts, and embeds them in batches by length, across pipelines that
 * share a session. What comes out goes to the writer, batch by batch.
 */
export class WindowRunner {
  readonly #context: WorkerContext;
  readonly #registry: Registry;
  readonly #embedder: TextEmbedder;
  readonly #writer: Writer;
  readonly #setbacks: Setbacks;

  constructor(
    context: WorkerContext,
    registry: Registry,
    embedder: TextEmbedder,
    writer: Writer,
    setbacks: Setbacks,
  ) {
    this.#context = context;
    this.#registry = registry;
    this.#embedder = embedder;
    this.#writer = writer;
    this.#setbacks = setbacks;
  }

  async run(jobs: readonly Job[]): Promise<void> {
    const byPipeline = groupBy(jobs, (job) => job.pipelineId);
    const rows = await Promise.all(
      [...byPipeline].map(([pipelineId, group]) => this.#read(pipelineId, group)),
    );
    const bySession = groupBy(rows.flat(), ({ served }) => runKey(served));
    await Promise.all([...bySession.values()].map((group) => this.#embed(group)));
  }

  /** The rows of one pipeline that have text. Those without go straight to the writer, to have their target emptied. */
  async #read(pipelineId: number, claimed: readonly Job[]): Promise<Row[]> {
    const served = this.#registry.find(pipelineId);
    if (!served) {
      await this.#setbacks.release(claimed);
      return [];
    }
    const jobs = await this.#buryOverdrawn(served, claimed);
    const rows: Row[] = [];
    const empty: Job[] = [];
    const failures: Failure[] = [];
    const read = async (part: readonly Job[]) => {
      const texts = await persist(this.#context, () =>
        readInputs(this.#context.database, part, served.model.maxTokens * CHARACTERS_PER_TOKEN),
      );
      part.forEach((job, i) => {
        const text = texts[i];
        if (text == null || text.trim() === '') empty.push(job);
        else rows.push({ served, job, text: served.prompt + text });
      });
    };
    try {
      if (jobs.length > 0)
        await bisect(jobs, read, isRowError, (job, error) => failures.push({ job, error }));
    } catch (error) {
      if (this.#context.signal.aborted) throw error;
      await this.#setbacks.failPipeline(served, jobs, error);
      return [];
    }
    await this.#setbacks.failRows(served, failures);
    if (empty.length > 0) {
      this.#writer.add(
        served,
        empty.map((job) => ({ job, vector: null })),
        rows.length > 0,
      );
    }
    return rows;
  }

  /** Jobs that were claimed more often than they may be were never reported on: each time, their worker died. */
  async #buryOverdrawn(served: ServedPipeline, jobs: readonly Job[]): Promise<Job[]> {
    const { maxAttempts } = served.pipeline;
    const overdrawn = jobs.filter((job) => job.attempts > maxAttempts);
    const error = new Error(`the worker that held this row died, ${maxAttempts} times`);
    await this.#setbacks.failRows(
      served,
      overdrawn.map((job) => ({ job, error })),
    );
    return jobs.filter((job) => job.attempts <= maxAttempts);
  }

  /** Embeds rows that share a session. */
  async #embed(rows: readonly Row[]): Promise<void> {
    const { served } = rows[0]!;
    const waiting = new Map<ServedPipeline, number>();
    for (const row of rows) waiting.set(row.served, (waiting.get(row.served) ?? 0) + 1);
    const left = new Set(rows);
    try {
      await this.#embedder.embedTexts(
        served.model,
        rows.map(({ text }) => text),
        {
          ...served.pipeline.options,
          prompt: '',
          onBatch: (places, results) => {
            const outcomes = places.map((place, i) => ({ row: rows[place]!, result: results[i]! }));
            for (const { row } of outcomes) left.delete(row);
            for (const [of, group] of groupBy(outcomes, ({ row }) => row.served)) {
              const more = waiting.get(of)! - group.length;
              waiting.set(of, more);
              this.#deliver(of, group, more > 0);
            }
          },
        },
      );
    } catch (error) {
      if (!(error instanceof EngineError)) throw error;
      const jobsOf = groupBy(left, (row) => row.served);
      for (const [of, group] of jobsOf) {
        const jobs = group.map(({ job }) => job);
        if (error.kind === 'stopped') await this.#setbacks.release(jobs);
        else await this.#setbacks.failPipeline(of, jobs, error);
      }
    }
  }

  #deliver(
    served: ServedPipeline,
    outcomes: { row: Row; result: Float32Array | EngineError }[],
    more: boolean,
  ): void {
    const failures: Failure[] = [];
    const results = outcomes.flatMap(({ row: { job }, result }) => {
      if (!(result instanceof EngineError)) return [{ job, vector: result }];
      failures.push({ job, error: result });
      return [];
    });
    this.#writer.add(served, results, more);
    this.#setbacks.failRows(served, failures).catch((error: unknown) => {
      this.#context.logger.error(
        { err: error },
        'failed attempts were not booked, their leases will run out',
      );
    });
  }
}

/** Pipelines with the same key can share a batch: the same session, and vectors finished in the same way. */
function runKey({ model, pipeline }: ServedPipeline): string {
  const { key, normalize } = sessionSpec(model, pipeline.options);
  return `${key} ${normalize}`;
}
