import { setMaxListeners } from 'node:events';
import type { Logger } from 'pino';
import { retrying } from '../database/retry.ts';
import { messageOf, UserError } from '../errors.ts';
import type { SessionState } from '../inference/backend/session.ts';
import type { Embedder } from '../inference/embedder.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import { type WaitSettings, waitFor } from '../pipelines/wait-for.ts';
import type { Job } from '../queue/jobs.ts';
import { tracedSince } from '../tracing.ts';
import { Connections } from './connections.ts';
import { sayAway, type WorkerContext } from './context.ts';
import { WorkerEvents, type WorkerStats } from './events.ts';
import { Holdings } from './holdings.ts';
import { Lanes } from './lanes.ts';
import type { WorkerOptions } from './options.ts';
import { makeParts, type Parts } from './parts.ts';
import { prepareModels } from './prepare-models.ts';
import type { QuietIdle } from './quiet.ts';
import { deregister } from './registration.ts';
import type { WindowRunner } from './window.ts';

/**
 * Where a worker is in its life: not started; connecting; looking for jobs; ending what is under way; ended. 'failed':
 * its loop was ended by a defect; it claims nothing any more, and its process has to be started again.
 */
export type WorkerState = 'new' | 'starting' | 'working' | 'stopping' | 'stopped' | 'failed';

/** A worker. Its `events` tell what it does. */
export interface Worker {
  readonly events: WorkerEvents;
  readonly stats: Readonly<WorkerStats>;
  readonly state: WorkerState;
  /** What it embeds with; undefined until the device is known. */
  readonly embedder: TextEmbedder | undefined;
  /** The engine's sessions: each that was needed so far, loaded or not. */
  readonly sessions: readonly SessionState[];
  /**
   * Connects and works until `stop`. Resolves when it looks for jobs; while the server is away it waits. @throws UserError
   */
  start(): Promise<void>;
  /** Connects, works until no job is due, and stops. @throws UserError */
  drain(): Promise<DrainResult>;
  /**
   * Waits until a pipeline has done what was asked of it, as `waitFor`.
   * @throws UserError when it does not work, is paused, or is not done in time, or the worker has not started
   */
  settled(pipeline: string, settings?: WaitSettings): Promise<void>;
  /** Finishes what is under way, gives the rest back, and ends. Safe to call twice. */
  stop(): Promise<void>;
}

/** The share of the time for a stop that the engine may take. */
const ENGINE_SHARE = 0.7;

/** What a drain came to. */
export interface DrainResult extends WorkerStats {
  seconds: number;
  /** Pipelines that do not work, and why. */
  failing: { pipeline: string; error: string }[];
  /** Rows that other workers, which are alive, held at the end. */
  heldElsewhere: number;
}

/**
 * Makes a worker: it claims jobs, embeds their rows and writes the vectors.
 *
 * @example
 * const worker = createWorker({ connection: process.env.DATABASE_URL!, logger: pino() });
 * await worker.start();
 * process.once('SIGTERM', () => worker.stop());
 */
export function createWorker(options: WorkerOptions): Worker {
  return new PipelineWorker(options);
}

class PipelineWorker implements Worker {
  readonly events = new WorkerEvents();
  readonly stats: WorkerStats = { embedded: 0, emptied: 0, superseded: 0, retried: 0, dead: 0 };
  readonly #options: WorkerOptions;
  readonly #logger: Logger;
  readonly #connections: Connections;
  /** There once the device is known; not where another one stands in. */
  #embedder: Embedder | undefined;
  readonly #holdings = new Holdings();
  readonly #windows = new Set<Promise<void>>();
  /** Ends waits for a server that is away, when stopping has taken its time. */
  readonly #giveUp = new AbortController();
  #prepared: TextEmbedder | undefined;
  #parts: Parts | undefined;
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #state: WorkerState = 'new';

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#connections = new Connections(options.connection, options.logger);
    // Each statement that waits for the server listens to this signal.
    setMaxListeners(0, this.#giveUp.signal);
  }

  get sessions(): readonly SessionState[] {
    return this.#embedder?.sessions ?? [];
  }

  get embedder(): TextEmbedder | undefined {
    return this.#prepared;
  }

  get state(): WorkerState {
    return this.#state;
  }

  async start(): Promise<void> {
    const { loop } = await this.#connect(true).catch(async (error: unknown) => {
      await this.stop();
      throw error;
    });
    this.#running = loop.run(false).catch((error: unknown) => {
      if (this.#giveUp.signal.aborted) return;
      this.#state = 'failed';
      this.#logger.fatal({ err: error }, 'worker failed');
    });
  }

  async drain(): Promise<DrainResult> {
    const begin = performance.now();
    try {
      const { loop, pipelines } = await this.#connect(false);
      this.#running = loop.run(true);
      await this.#running;
      return {
        ...this.stats,
        seconds: (performance.now() - begin) / 1_000,
        failing: pipelines.failing(),
        heldElsewhere: loop.heldElsewhere,
      };
    } finally {
      await this.stop();
    }
  }

  async settled(pipeline: string, settings: WaitSettings = {}): Promise<void> {
    if (!this.#parts) throw new UserError('the worker has not started', { hint: 'Call start() first' });
    await waitFor(this.#parts.context.database, pipeline, settings);
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** @param patient whether to wait for a server that is away */
  async #connect(patient: boolean): Promise<Parts> {
    this.#state = 'starting';
    // Beside the first statements: trying a GPU takes a third of a second.
    const preparing = prepareModels(this.#options, this.events, (embedder) => {
      this.#embedder = embedder;
    });
    preparing.then(
      (embedder) => {
        this.#prepared = embedder;
      },
      () => {},
    );
    const context = await this.#makeContext(preparing, patient);
    const parts = makeParts(context, await preparing, {
      holdings: this.#holdings,
      stats: this.stats,
      window: this.#options.window ?? 2048,
      take: (runner, jobs, ms) => this.#work(runner, jobs, ms),
      listener: () => this.#connections.listener,
      quietIdle: this.#quietIdle(context),
    });
    this.#parts = parts;
    await parts.heartbeat.rescue();
    parts.heartbeat.start();
    this.#listen(parts);
    parts.requests.start();
    this.#state = 'working';
    const { workerId } = context.claimant;
    const listening = this.#connections.listener !== null;
    this.#logger.info({ worker: workerId, listening }, 'worker started');
    this.events.emit('listening', listening);
    this.events.emit('started', { workerId, listening });
    return parts;
  }

  /** When it goes quiet; undefined where no notification would end that. */
  #quietIdle({ silentWriters }: WorkerContext): QuietIdle | undefined {
    const { quietIdle } = this.#options;
    if (quietIdle && (silentWriters || !this.#connections.listener)) {
      const reason = silentWriters ? 'max_prepared_transactions is not 0' : 'LISTEN does not work';
      this.#logger.warn({ reason }, 'cannot be quiet while it is idle, since triggers would not wake it');
      return undefined;
    }
    return quietIdle;
  }

  #listen({ loop, requests }: Parts): void {
    const { listener } = this.#connections;
    listener?.on('wake', (payload) => (payload === 'request' ? requests.wake() : loop.wake(payload)));
    listener?.on('lost', () => this.events.emit('listening', false));
    listener?.on('restored', () => {
      this.events.emit('listening', true);
      loop.wake('pipeline');
      requests.wake();
    });
  }

  /** Nobody is to see a worker before it is `prepared`. */
  async #makeContext(prepared: Promise<unknown>, patient: boolean): Promise<WorkerContext> {
    const { heart, queue, tables, chores } = this.#connections.pools;
    const { signal } = this.#giveUp;
    const attach = () => this.#connections.attach(prepared);
    const { workerId, vectorOid, silentWriters } = patient
      ? await retrying(attach, { signal, onRetry: sayAway(this.#logger) })
      : await attach();
    return {
      database: queue,
      heart,
      tables,
      lanes: new Lanes(),
      chores,
      vectorOid,
      silentWriters,
      logger: this.#logger,
      events: this.events,
      backoff: this.#options.backoff ?? { baseSeconds: 2, limitSeconds: 600 },
      claimant: { workerId, leaseSeconds: this.#options.leaseSeconds ?? 60 },
      signal,
    };
  }

  /** Works on claimed jobs beside the loop, which claims the next ones meanwhile. */
  #work(runner: WindowRunner, jobs: Job[], ms: number): void {
    const claim = { name: 'claim', ms };
    const work = tracedSince('window', claim, { 'pgembedder.rows': jobs.length }, () => runner.run(jobs))
      .catch((error: unknown) => {
        this.#logger.error({ err: error }, 'a window of jobs failed, their leases will run out');
        this.#holdings.remove(jobs);
      })
      .finally(() => this.#windows.delete(work));
    this.#windows.add(work);
  }

  /**
   * Stops in this order: no more claims; batches that run may end, those that wait come back as 'stopped' and are
   * released; results are written; all that is still held is released. The engine is killed when most of the time is
   * over, so that some is left to give its rows back. After the limit it waits for nothing, not for a server that is away
   * or does not answer either: then the leases run out.
   */
  async #stop(): Promise<void> {
    this.#state = 'stopping';
    const limitMs = (this.#options.stopSeconds ?? 20) * 1_000;
    const late = new Promise<never>((_, reject) => {
      this.#giveUp.signal.addEventListener('abort', () => reject(this.#giveUp.signal.reason));
    });
    const timer = setTimeout(() => this.#giveUp.abort(new Error('stopping took too long')), limitMs);
    try {
      await Promise.race([this.#giveBack(limitMs * ENGINE_SHARE), late]);
    } catch (error) {
      this.#logger.warn({ reason: messageOf(error) }, 'could not give everything back, leases will run out');
    }
    await Promise.race([this.#disconnect(), late]).catch(() => {});
    clearTimeout(timer);
    this.#state = 'stopped';
    this.#logger.info({ ...this.stats }, 'worker stopped');
  }

  async #giveBack(engineMs: number): Promise<void> {
    const parts = this.#parts;
    parts?.loop.stop();
    parts?.requests.stop();
    const begin = performance.now();
    await this.events.tellStopping(engineMs / 2);
    await this.#embedder?.stop(engineMs - (performance.now() - begin));
    await parts?.housekeeping.stop();
    await this.#running?.catch(() => {});
    await Promise.all(this.#windows);
    await parts?.requests.ended();
    await parts?.writer.drain();
    await parts?.setbacks.release(this.#holdings.byPipeline().flat());
    await parts?.heartbeat.stop();
    if (parts) await deregister(parts.context);
  }

  async #disconnect(): Promise<void> {
    await this.#parts?.heartbeat.stop();
    await this.#connections.close();
  }
}
