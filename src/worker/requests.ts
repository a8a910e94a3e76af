import { UNDEFINED_OBJECT } from '../database/errors.ts';
import { messageOf, UserError } from '../errors.ts';
import { groupBy } from '../group-by.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import { embedQueries, type QueryVector } from '../inference/query-vectors.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import { limits } from '../limits.ts';
import type { LogitsModel, VectorModel } from '../model-files/description.ts';
import {
  answerRanking,
  answerRequests,
  claimRequests,
  type Refusal,
  type Request,
  refuseRequests,
  releaseRequests,
} from '../queue/requests.ts';
import { featureExtraction } from '../tasks/feature-extraction.ts';
import { textRanking } from '../tasks/text-ranking.ts';
import { traced } from '../tracing.ts';
import type { WorkerContext } from './context.ts';
import { Signal } from './signal.ts';

/** Most requests of one batch. */
const BATCH = 64;
/**
 * Batches under way at once: what arrives while one is at the engine makes the next one, so that many callers share
 * runs; the second batch is for the texts of another model while the first waits for its model to load.
 */
const LANES = 2;
/** The first and the longest wait between two looks where LISTEN does not work. */
const DEAF_POLL_MS = 50;
const DEAF_POLL_LIMIT_MS = 1_000;
/** The longest wait where LISTEN works: a notification may be lost with its connection. */
const POLL_MS = 5_000;
/** The longest wait that a timer takes, for a worker that is quiet. */
const QUIET_MS = 2 ** 31 - 1;

/** The SQLSTATE of a refusal when the model could not embed the text: external_routine_exception. */
const NOT_EMBEDDED = '38000';

/**
 * Answers the query texts of sessions that wait in embedder.embed. It does so beside the claim loop, whether that is
 * busy or not, and ahead of the queue's batches.
 */
export class Requests {
  readonly #context: WorkerContext;
  readonly #embedder: TextEmbedder;
  readonly #listening: () => boolean;
  readonly #able: () => boolean;
  readonly #quiet: () => boolean;
  readonly #signal = new Signal();
  readonly #batches = new Set<Promise<void>>();
  #running: Promise<void> | undefined;
  #stopping = false;

  /**
   * @param able whether requests are to be claimed now
   * @param quiet whether the server is not to be asked without a notification
   */
  constructor(
    context: WorkerContext,
    embedder: TextEmbedder,
    listening: () => boolean,
    able: () => boolean,
    quiet: () => boolean,
  ) {
    this.#able = able;
    this.#quiet = quiet;
    this.#context = context;
    this.#embedder = embedder;
    this.#listening = listening;
  }

  start(): void {
    this.#running = this.#run();
  }

  /** Somebody has posted a request. */
  wake(): void {
    this.#signal.give();
  }

  /** Claims no more. */
  stop(): void {
    this.#stopping = true;
    this.#signal.give();
  }

  /** Resolves when every claimed request is answered or given back. */
  async ended(): Promise<void> {
    await this.#running;
    await Promise.all(this.#batches);
  }

  async #run(): Promise<void> {
    let pollMs = DEAF_POLL_MS;
    while (!this.#stopping) {
      const requests = this.#able() && this.#batches.size < LANES ? await this.#claim() : [];
      if (requests.length > 0) {
        pollMs = DEAF_POLL_MS;
        const batch = this.#answer(requests).finally(() => {
          this.#batches.delete(batch);
          this.#signal.give();
        });
        this.#batches.add(batch);
        continue;
      }
      if (this.#quiet()) await this.#signal.wait(QUIET_MS);
      else await this.#signal.wait(this.#listening() ? POLL_MS : pollMs);
      pollMs = Math.min(pollMs * 2, DEAF_POLL_LIMIT_MS);
    }
  }

  /** An error costs time only: the next look may succeed, and those who wait give up after a while. */
  async #claim(): Promise<Request[]> {
    const { database, claimant, logger } = this.#context;
    try {
      return await claimRequests(database, claimant.workerId, BATCH);
    } catch (error) {
      logger.warn({ reason: messageOf(error) }, 'could not look for requests');
      return [];
    }
  }

  async #answer(requests: readonly Request[]): Promise<void> {
    const { logger } = this.#context;
    const rankings = requests.filter(({ options }) => options.texts !== undefined);
    const queries = requests.filter(({ options }) => options.texts === undefined);
    const groups = groupBy(queries, ({ model, options, input }) =>
      // A text beyond the limit would have its whole group refused: so it gets a group of its own.
      JSON.stringify([model, options, input.length > limits.textCharacters]),
    );
    const answer = (group: readonly Request[], work: () => Promise<void>) =>
      traced(
        'answer',
        { 'pgembedder.requests': group.length, 'pgembedder.model': group[0]!.model },
        work,
      ).catch((error: unknown) => logger.warn({ reason: messageOf(error) }, 'requests were not answered'));
    await Promise.all([
      ...[...groups.values()].map((group) => answer(group, () => this.#embed(group))),
      ...rankings.map((request) => answer([request], () => this.#rank(request))),
    ]);
  }

  /** Ranks the texts of a request. A text that the model cannot read has no score; the others have theirs. */
  async #rank(request: Request): Promise<void> {
    const { database } = this.#context;
    let model: LogitsModel;
    try {
      model = this.#embedder.find(request.model, textRanking.name);
    } catch (error) {
      return refuseRequests(database, [request], refusalOf(error, UNDEFINED_OBJECT));
    }
    try {
      const scores = await this.#embedder.rankTexts(model, request.input, request.options.texts ?? [], {
        priority: 'interactive',
      });
      await answerRanking(
        database,
        request,
        scores.map((score) => (score instanceof EngineError ? null : score)),
      );
    } catch (error) {
      if (error instanceof EngineError && error.kind === 'stopped')
        return releaseRequests(database, [request]);
      return refuseRequests(database, [request], refusalOf(error, NOT_EMBEDDED));
    }
  }

  /** Embeds requests that share a model and options. */
  async #embed(requests: readonly Request[]): Promise<void> {
    const { database, vectorOid } = this.#context;
    let model: VectorModel;
    try {
      model = this.#embedder.find(requests[0]!.model, featureExtraction.name);
    } catch (error) {
      return refuseRequests(database, requests, refusalOf(error, UNDEFINED_OBJECT));
    }
    let results: (QueryVector | EngineError)[];
    try {
      results = await embedQueries(
        this.#embedder,
        model,
        requests.map(({ input }) => input),
        requests[0]!.options,
      );
    } catch (error) {
      if (error instanceof EngineError && error.kind === 'stopped')
        return releaseRequests(database, requests);
      return refuseRequests(database, requests, refusalOf(error, NOT_EMBEDDED));
    }
    const answered = requests.filter((_, i) => !(results[i] instanceof EngineError));
    const vectors = results.filter((result): result is QueryVector => !(result instanceof EngineError));
    if (answered.length > 0) await answerRequests(database, answered, vectors, vectorOid);
    for (const [i, result] of results.entries()) {
      if (!(result instanceof EngineError)) continue;
      await refuseRequests(database, [requests[i]!], refusalOf(result, NOT_EMBEDDED));
    }
  }
}

function refusalOf(error: unknown, sqlState: string): Refusal {
  const hint = error instanceof UserError ? error.hint : undefined;
  return { message: messageOf(error), hint, sqlState };
}
