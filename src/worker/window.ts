import { bisect } from '../bisect.ts';
import { isRowError } from '../database/errors.ts';
import { UserError } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import { limits } from '../limits.ts';
import { isOnThisMachine } from '../model-files/description.ts';
import { type Result, type RowInput, readInputs } from '../queue/batch.ts';
import type { Job } from '../queue/jobs.ts';
import { traced } from '../tracing.ts';
import { computeTexts, sharedBatchKey } from './compute.ts';
import { persist, type WorkerContext } from './context.ts';
import { inTime } from './lanes.ts';
import type { ServedPipeline, ServedPipelines } from './served-pipelines.ts';
import type { FailedAttempt, Setbacks } from './setbacks.ts';
import { UnderWay } from './under-way.ts';
import { WorkItem } from './work-item.ts';
import type { Writer } from './writer.ts';

/** How many rows of a chunked pipeline are worked on at once, at first and at most: each may be a book. */
const FIRST_CHUNKED_ROWS = 8;
const CHUNKED_ROWS = 64;
/** After the first ones, as many rows as have about this many characters together, by the average so far. */
const CHUNKED_CHARACTERS = 2_000_000;

/**
 * Works on a window of claimed jobs: reads their texts, and gives them to the model in batches by length, across
 * pipelines that share a session. What comes out goes to the writer, batch by batch.
 */
export class WindowRunner {
  readonly #context: WorkerContext;
  readonly #pipelines: ServedPipelines;
  readonly #embedder: TextEmbedder;
  readonly #writer: Writer;
  readonly #setbacks: Setbacks;
  readonly #underWay: UnderWay;

  constructor(
    context: WorkerContext,
    pipelines: ServedPipelines,
    embedder: TextEmbedder,
    writer: Writer,
    setbacks: Setbacks,
  ) {
    this.#context = context;
    this.#pipelines = pipelines;
    this.#embedder = embedder;
    this.#writer = writer;
    this.#setbacks = setbacks;
    this.#underWay = new UnderWay(context);
  }

  /** Works on jobs of one priority. */
  async run(jobs: readonly Job[]): Promise<void> {
    const groups = [...groupBy(jobs, (job) => job.pipelineId)];
    const isChunked = ([id]: [number, Job[]]) => this.#pipelines.find(id)?.pipeline.chunking != null;
    await Promise.all([
      this.#work(groups.filter((group) => !isChunked(group))),
      ...groups.filter(isChunked).map(async ([id, group]) => {
        let rows = FIRST_CHUNKED_ROWS;
        for (let at = 0; at < group.length; ) {
          const part = group.slice(at, at + rows);
          const characters = await this.#work([[id, part]]);
          rows = Math.min(
            CHUNKED_ROWS,
            Math.max(1, Math.floor((CHUNKED_CHARACTERS * part.length) / Math.max(1, characters))),
          );
          at += part.length;
        }
      }),
    ]);
  }

  /** @returns how many characters their rows had */
  async #work(groups: readonly [number, Job[]][]): Promise<number> {
    const begun: Promise<number>[] = [];
    try {
      const read = await Promise.all(
        groups.map(async ([pipelineId, group]) => {
          const noted = this.#underWay.begin(group);
          begun.push(noted);
          // A long text may kill the worker before any model sees it. Short ones are read meanwhile.
          if (this.#pipelines.find(pipelineId)?.chunking) await noted;
          const [read] = await Promise.all([this.#read(pipelineId, group), noted]);
          return read;
        }),
      );
      const batches = groupBy(
        read.flatMap(({ items }) => items),
        ({ served }) => sharedBatchKey(this.#embedder, served),
      );
      await Promise.all([...batches.values()].map((group) => this.#compute(group)));
      return read.reduce((sum, { characters }) => sum + characters, 0);
    } finally {
      for (const noted of await Promise.allSettled(begun))
        if (noted.status === 'fulfilled') this.#underWay.end(noted.value);
    }
  }

  /** The jobs of one pipeline whose rows have text. Those without go straight to the writer, to have their target emptied. */
  async #read(
    pipelineId: number,
    claimed: readonly Job[],
  ): Promise<{ items: WorkItem[]; characters: number }> {
    const served = this.#pipelines.find(pipelineId);
    if (!served) {
      await this.#setbacks.release(claimed);
      return { items: [], characters: 0 };
    }
    const jobs = await this.#failOverdrawn(served, claimed);
    const items: WorkItem[] = [];
    let characters = 0;
    const empty: Result[] = [];
    const failures: FailedAttempt[] = [];
    const most = served.chunking
      ? limits.textCharacters + 1
      : served.model.maxTokens * limits.charactersPerToken;
    const read = async (part: readonly Job[]) => {
      const begin = performance.now();
      const inputs = await traced(
        'read',
        { 'pgembedder.pipeline': served.pipeline.name, 'pgembedder.rows': part.length },
        () =>
          this.#context.lanes.run(pipelineId, () =>
            persist(this.#context, () =>
              inTime('reading its rows', () => readInputs(this.#context.tables, part, most)),
            ),
          ),
      );
      this.#context.events.emit('fetched', {
        pipeline: served.pipeline.name,
        rows: part.length,
        ms: performance.now() - begin,
      });
      for (const [i, job] of part.entries()) {
        characters += inputs[i]!.text?.length ?? 0;
        try {
          const item = await this.#makeItem(served, job, inputs[i]!);
          if (item) items.push(item);
          else empty.push({ job, sourceHash: inputs[i]!.sourceHash, output: null });
        } catch (error) {
          if (!(error instanceof UserError)) throw error;
          failures.push({ job, error });
        }
      }
    };
    try {
      if (jobs.length > 0)
        await bisect(jobs, read, isRowError, (job, error) => failures.push({ job, error }));
    } catch (error) {
      if (this.#context.signal.aborted) throw error;
      await this.#setbacks.failPipeline(served, jobs, error);
      return { items: [], characters: 0 };
    }
    await this.#setbacks.failRows(served, failures);
    if (empty.length > 0) {
      this.#writer.add(served, empty, items.length > 0);
    }
    return { items, characters };
  }

  async #makeItem(served: ServedPipeline, job: Job, input: RowInput): Promise<WorkItem | null> {
    if (!served.chunking) return WorkItem.whole(served, job, input);
    if (input.text !== null && input.text.length > limits.textCharacters)
      throw new UserError('the text has more than 10,000,000 characters', {
        hint: 'Divide it over several rows.',
      });
    return WorkItem.chunked(served, job, input, this.#embedder.tokenizer(served.model));
  }

  /** A job that was claimed more often than it may be never had a result or an error: its worker died each time. */
  async #failOverdrawn(served: ServedPipeline, jobs: readonly Job[]): Promise<Job[]> {
    const { maxAttempts } = served.pipeline;
    const overdrawn = jobs.filter((job) => job.attempts > maxAttempts);
    const error = new Error(`the worker that held this row died, ${maxAttempts} times`);
    await this.#setbacks.failRows(
      served,
      overdrawn.map((job) => ({ job, error })),
    );
    return jobs.filter((job) => job.attempts <= maxAttempts);
  }

  /** Works on items that share batches. */
  async #compute(items: readonly WorkItem[]): Promise<void> {
    const { served } = items[0]!;
    const left = new Set(items);
    const waiting = new Map<ServedPipeline, number>();
    for (const item of items) waiting.set(item.served, (waiting.get(item.served) ?? 0) + 1);
    const settle = (settled: readonly WorkItem[]) => {
      for (const item of settled) left.delete(item);
      for (const [of, group] of groupBy(settled, (item) => item.served)) {
        const more = waiting.get(of)! - group.length;
        waiting.set(of, more);
        this.#deliver(of, group, more > 0);
      }
    };
    try {
      // A row whose chunks are all in the target already has nothing to compute, but its chunks may have moved.
      settle(items.filter((item) => item.done));
      const compute = () =>
        computeTexts(
          this.#embedder,
          served,
          [...left].flatMap((item) => item.texts),
          items[0]!.job.priority,
          (texts) => settle([...new Set(texts.map(({ item }) => item))].filter((item) => item.done)),
        );
      if (isOnThisMachine(served.model)) await compute();
      else await this.#context.lanes.waiting(new Set(items.map(({ job }) => job.pipelineId)), compute);
    } catch (error) {
      if (!(error instanceof EngineError || error instanceof UserError)) throw error;
      for (const [of, group] of groupBy(left, (item) => item.served)) {
        const jobs = group.map(({ job }) => job);
        if (error instanceof EngineError && error.kind === 'stopped') await this.#setbacks.release(jobs);
        else await this.#setbacks.failPipeline(of, jobs, error);
      }
    }
  }

  #deliver(served: ServedPipeline, items: readonly WorkItem[], more: boolean): void {
    const failures = items.flatMap(({ job, error }): FailedAttempt[] => (error ? [{ job, error }] : []));
    this.#writer.add(
      served,
      items.filter((item) => !item.error).map((item) => item.result()),
      more,
    );
    this.#setbacks.failRows(served, failures).catch((error: unknown) => {
      this.#context.logger.error(
        { err: error },
        'failed attempts were not booked, their leases will run out',
      );
    });
  }
}
