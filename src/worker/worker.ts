import { setMaxListeners } from 'node:events';
import type { Logger } from 'pino';
import type { Connection } from '../database/database.ts';
import { type Listener, openListener } from '../database/listener.ts';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { findVectorOid } from '../database/pgvector.ts';
import { retrying } from '../database/retry.ts';
import { takesPreparedTransactions } from '../database/server.ts';
import { deviatingSettings } from '../database/sessions.ts';
import { messageOf, UserError } from '../errors.ts';
import { cpu, type Device, variantOrder } from '../inference/devices/device.ts';
import { chooseDevice } from '../inference/devices/resolve-device.ts';
import { Embedder, type TextEmbedder, type TokenizedReport } from '../inference/embedder.ts';
import { Engine, type EngineOptions, type SessionState } from '../inference/engine/engine.ts';
import { modelsDirectory } from '../models/places.ts';
import { createModelStore, type ModelStore } from '../models/store.ts';
import type { Variant } from '../models/variants.ts';
import type { Backoff, Job } from '../queue/jobs.ts';
import { ClaimLoop } from './claim-loop.ts';
import { sayAway, type WorkerContext } from './context.ts';
import { WorkerEvents, type WorkerStats } from './events.ts';
import { Holdings } from './holdings.ts';
import { Housekeeping } from './housekeeping.ts';
import { IndexBuilder } from './index-builder.ts';
import { Lanes } from './lanes.ts';
import { Pools } from './pools.ts';
import { deregister, Heartbeat, register } from './registration.ts';
import { Registry } from './registry.ts';
import { Requests } from './requests.ts';
import { Setbacks } from './setbacks.ts';
import { WindowRunner } from './window.ts';
import { Writer } from './writer.ts';

/** How a worker works; only the connection and the logger must be given. */
export interface WorkerOptions {
  readonly connection: Connection;
  readonly logger: Logger;
  /** Folders of models, searched before the bundled ones. Default: where `pgembedder models pull` puts them. */
  readonly modelDirectories?: readonly string[];
  /** Variants as which models are to be used, by the model's name. Default: of each the one that is best here. */
  readonly pinnedVariants?: ReadonlyMap<string, Variant>;
  /**
   * What runs the models: 'auto' (default), 'cpu', 'cuda', 'cuda:1', 'webgpu', 'coreml' or 'dml'. A device that is
   * named and does not work is an error of `start` and `drain`; 'auto' takes the CPU when no GPU is worth it.
   */
  readonly device?: string;
  /** Engine processes, their memory and their end; see `EngineOptions`. */
  readonly engine?: Omit<EngineOptions, 'logger' | 'device'>;
  /** Most tokens of a batch, padding included. By default the best number is found out. */
  readonly tokenBudget?: number | undefined;
  /** Rows claimed at once and sorted by length. Default: 2,048. */
  readonly window?: number;
  /** How long a claim holds. Default: 60 s; renewed while the rows are worked on. */
  readonly leaseSeconds?: number;
  /** How long `stop` waits for batches under way. Default: 20 s. */
  readonly stopSeconds?: number;
  /** Waits between the attempts of a failed row. Default: 2 s, doubled each time, at most 600 s. */
  readonly backoff?: Backoff;
  /** Stands in for the engine; for benchmarks of the queue alone. */
  readonly embedder?: TextEmbedder;
}

/**
 * Where a worker is in its life: not started; connecting; looking for jobs; ending what is under way; ended. 'failed':
 * its loop has ended by a defect, nothing is claimed any more, and it has to be started anew.
 */
export type WorkerState = 'new' | 'starting' | 'working' | 'stopping' | 'stopped' | 'failed';

/** A worker. Its `events` tell what it does. */
export interface Worker {
  readonly events: WorkerEvents;
  readonly stats: Readonly<WorkerStats>;
  readonly state: WorkerState;
  /** The engine's sessions: every one that was needed so far, loaded or not. */
  readonly sessions: readonly SessionState[];
  /**
   * Connects and works until `stop`. Resolves when it looks for jobs; while the server is away it waits. @throws UserError
   */
  start(): Promise<void>;
  /** Connects, works until no job is due, and stops. @throws UserError */
  drain(): Promise<DrainResult>;
  /** Finishes what is under way, gives the rest back, and ends. Safe to call twice. */
  stop(): Promise<void>;
}

/** How much of the time that a stop may take is the engine's. */
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
  readonly #pools: Pools;
  /** There once the device is known. */
  #engine: Engine | undefined;
  readonly #holdings = new Holdings();
  readonly #windows = new Set<Promise<void>>();
  /** Ends waits for a server that is away, when stopping has taken its time. */
  readonly #giveUp = new AbortController();
  #parts: Parts | undefined;
  #listener: Listener | null = null;
  #running: Promise<void> | undefined;
  #stopped: Promise<void> | undefined;
  #state: WorkerState = 'new';

  constructor(options: WorkerOptions) {
    this.#options = options;
    this.#logger = options.logger;
    this.#pools = new Pools(options.connection);
    // Each statement that waits for the server listens to it.
    setMaxListeners(0, this.#giveUp.signal);
  }

  get sessions(): readonly SessionState[] {
    return this.#engine?.sessions ?? [];
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
      const { loop, registry } = await this.#connect(false);
      this.#running = loop.run(true);
      await this.#running;
      return {
        ...this.stats,
        seconds: (performance.now() - begin) / 1_000,
        failing: registry.failing(),
        heldElsewhere: loop.heldElsewhere,
      };
    } finally {
      await this.stop();
    }
  }

  stop(): Promise<void> {
    this.#stopped ??= this.#stop();
    return this.#stopped;
  }

  /** @param patient whether to wait for a server that is away */
  async #connect(patient: boolean): Promise<Parts> {
    this.#state = 'starting';
    // Beside the first statements: trying a GPU takes a third of a second.
    const preparing = this.#prepare();
    preparing.catch(() => {});
    const context = await this.#makeContext(preparing, patient);
    const { embedder, store } = await preparing;
    const registry = new Registry(context, store, embedder);
    const setbacks = new Setbacks(context, registry, this.#holdings, this.stats);
    const writer = new Writer(context, setbacks, this.#holdings, this.stats);
    const runner = new WindowRunner(context, registry, embedder, writer, setbacks);
    const listening = () => this.#listener !== null;
    const heartbeat = new Heartbeat(context, this.#holdings, listening);
    const housekeeping = new Housekeeping(context, registry, new IndexBuilder(context));
    const loop = new ClaimLoop(context, registry, this.#holdings, housekeeping, {
      window: this.#options.window ?? 2048,
      take: (jobs) => this.#work(runner, jobs),
      listening,
    });
    const requests = new Requests(context, store, embedder, listening, () => !registry.outdated);
    this.#parts = { context, registry, setbacks, writer, heartbeat, housekeeping, loop, requests };
    await heartbeat.rescue();
    heartbeat.start();
    this.#listener?.on('wake', (payload) => (payload === 'request' ? requests.wake() : loop.wake(payload)));
    this.#listener?.on('lost', () => this.events.emit('listening', false));
    this.#listener?.on('restored', () => {
      this.events.emit('listening', true);
      loop.wake('pipeline');
      requests.wake();
    });
    requests.start();
    this.#state = 'working';
    this.#logger.info({ worker: context.claimant.workerId, listening: listening() }, 'worker started');
    this.events.emit('listening', listening());
    this.events.emit('started', { workerId: context.claimant.workerId, listening: listening() });
    return this.#parts;
  }

  /** Chooses the device, and the models that suit it. */
  async #prepare(): Promise<{ store: ModelStore; embedder: TextEmbedder }> {
    const { embedder, device: setting = 'auto', engine, logger, tokenBudget } = this.#options;
    if (embedder) return { embedder, store: this.#openStore(cpu) };
    const device = await chooseDevice(setting, { logger });
    this.#engine = new Engine({ ...engine, logger, device });
    this.#engine.on('started', () => this.events.emit('engineStarted'));
    this.#engine.on('loaded', () => this.events.emit('engineLoaded'));
    this.#engine.on('batch', (report) => this.events.emit('batch', report));
    this.#engine.on('died', ({ signal, code, phase }) =>
      this.events.emit('engineDied', { signal, code, phase }),
    );
    const onTokenized = (report: TokenizedReport) => this.events.emit('tokenized', report);
    return {
      embedder: new Embedder({ engine: this.#engine, tokenBudget, onTokenized }),
      store: this.#openStore(device),
    };
  }

  #openStore(device: Device): ModelStore {
    return createModelStore({
      directories: this.#options.modelDirectories ?? [modelsDirectory()],
      pinned: this.#options.pinnedVariants,
      variants: variantOrder(device),
    });
  }

  /** Nobody is to see a worker before it is `prepared`. */
  async #makeContext(prepared: Promise<unknown>, patient: boolean): Promise<WorkerContext> {
    const { heart, queue, pipelines, chores } = this.#pools;
    const { signal } = this.#giveUp;
    const attach = () => this.#attach(prepared);
    const { workerId, vectorOid, silentWriters } = patient
      ? await retrying(attach, { signal, onRetry: sayAway(this.#logger) })
      : await attach();
    return {
      database: queue,
      heart,
      pipelines,
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

  /** Finds out what the connection can do, and goes on the register. */
  async #attach(
    prepared: Promise<unknown>,
  ): Promise<Pick<WorkerContext, 'vectorOid' | 'silentWriters'> & { workerId: number }> {
    const { heart } = this.#pools;
    await requireSchema(heart);
    const vectorOid = await findVectorOid(heart);
    if (vectorOid === null)
      throw new UserError('pgvector was dropped from this database', { hint: 'Run: pgembedder migrate' });
    await this.#listener?.close();
    this.#listener = await openListener(this.#options.connection, heart);
    // Whoever stops a worker that starts has not seen this connection.
    if (this.#stopped) await this.#listener?.close();
    if (this.#listener) {
      // A notification has arrived here: so the connection is a session of our own.
      await this.#pools.own();
    } else {
      this.#logger.warn(
        'LISTEN does not work on this connection (a pooler in transaction mode?), polling instead',
      );
      const settings = await deviatingSettings(heart);
      if (settings.length > 0)
        this.#logger.warn(
          { settings },
          "the worker's role or database has settings that the worker should not have, and behind a pooler it cannot change them: see pgembedder doctor",
        );
    }
    await prepared;
    const silentWriters = await takesPreparedTransactions(heart);
    const workerId = await register(heart, this.#listener !== null);
    return { workerId, vectorOid, silentWriters };
  }

  /** Works on claimed jobs beside the loop, which claims the next ones meanwhile. */
  #work(runner: WindowRunner, jobs: Job[]): void {
    const work = runner
      .run(jobs)
      .catch((error: unknown) => {
        this.#logger.error({ err: error }, 'a window of jobs failed, their leases will run out');
        this.#holdings.remove(jobs);
      })
      .finally(() => this.#windows.delete(work));
    this.#windows.add(work);
  }

  /**
   * Stops in this order: no more claims; batches that run may end, those that wait come back as 'stopped' and are
   * released; what is computed is written; whatever is held even then is released. The engine is killed when most of
   * the time is over, so that some is left to give its rows back. Past the limit nothing is waited for, neither a server
   * that is away nor one that does not answer: then the leases run out by themselves.
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
    await this.#engine?.stop(engineMs);
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
    await this.#listener?.close();
    await this.#pools.close();
  }
}

/** What a connected worker consists of. */
interface Parts {
  readonly context: WorkerContext;
  readonly registry: Registry;
  readonly setbacks: Setbacks;
  readonly writer: Writer;
  readonly heartbeat: Heartbeat;
  readonly housekeeping: Housekeeping;
  readonly loop: ClaimLoop;
  readonly requests: Requests;
}
