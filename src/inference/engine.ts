import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { packageRoot } from '../package-root.ts';
import { type Batch, BatchQueue, settle } from './batch-queue.ts';
import { physicalCores } from './cores.ts';
import { EngineChild, type EngineExit } from './engine-child.ts';
import {
  died,
  diedInLoad,
  notLoadedIn,
  rejectAll,
  startFailed,
  stopped,
  timeout,
} from './engine-failures.ts';
import { longestOf } from './longest.ts';
import type { EngineReply, EngineSettings } from './protocol.ts';
import type { RowResult, RunOptions, Sequence, SessionSpec } from './types.ts';

export interface EngineOptions {
  readonly logger: Logger;
  /** The module that the process runs; tests give one with faults. */
  readonly entry?: string;
  /** Threads a run uses; by default one for each physical core. */
  readonly threads?: number;
  /**
   * Whether these threads spin while they wait for the next operator. It shortens a run a little when the machine
   * is otherwise idle and takes the CPU from everybody else (Postgres) when it is not; off by default.
   */
  readonly spinning?: boolean;
  /** A batch that runs (or a model that loads) for longer is given up and the process killed. */
  readonly runTimeoutMs?: number;
}

/** What there is to say of a batch that was run. */
export interface BatchReport {
  readonly model: string;
  readonly rows: number;
  /** Tokens of the rows, special tokens included, and what they came to with padding. */
  readonly tokens: number;
  readonly paddedTokens: number;
  /** From the moment it was asked for until it was with the process, and what the run itself took; in ms. */
  readonly waitMs: number;
  readonly runMs: number;
}

export interface EngineEvents {
  /** A process was started. */
  started: [{ pid: number | undefined }];
  /** A model is about to be loaded. */
  loading: [{ pid: number | undefined; model: string }];
  /** The model is loaded and a batch of `rows` rows begins to run. */
  running: [{ pid: number | undefined; rows: number }];
  /** A batch was run. */
  batch: [BatchReport];
  /** A process ended that nobody asked to end. */
  died: [EngineExit];
}

/** Longest wait for a batch, in ms. A batch of the default budget takes 30 ms, the longest text about a second. */
const defaultRunTimeoutMs = 120_000;

/** Batches with the process at a time: one that runs and one at hand, so that it never waits for the next. */
const batchesInFlight = 2;

/** Ends in a row, without anything done in between, from which on starts are delayed. */
const deathsBeforeDelay = 3;

/** Ends while one model was loaded from which on it is that model's fault: the first may have come from outside. */
const deathsInLoad = 2;

/** The first delay, doubled with each further end, and the longest; in ms. */
const firstDelayMs = 250;
const longestDelayMs = 10_000;

/** How long a process may take to end when its channel is closed; in ms. */
const endGraceMs = 1_000;

/**
 * The engine: runs batches in a process of its own, so that a crash of native code or the kernel's out-of-memory
 * killer costs one batch and not the worker.
 *
 * The process is started by the first batch. It says 'ready', and is then given up to two batches; it says 'started'
 * before it runs one, and answers each with a result or a failure. When it ends by itself:
 *
 * - the batch that had started fails with `died` (`timeout` when it was killed for running too long);
 * - every other batch goes back to the front of the queue, for the next process, and nobody notices;
 * - when it was loading a model, that is tried once more; the second time, or when it was killed for taking too long, all
 *   batches of that model fail with `load`;
 * - when no batch had started, the start itself failed. At the third time in a row all that wait fail with `start`.
 *
 * The next process is started as soon as there is a batch for it; after three ends in a row without a result it has
 * to wait, longer each time.
 */
export class Engine extends EventEmitter<EngineEvents> {
  readonly #logger: Logger;
  readonly #entry: string;
  readonly #settings: EngineSettings;
  readonly #runTimeoutMs: number;
  readonly #queue = new BatchQueue();
  /** With the process, in the order in which it runs them. */
  #sent: Batch[] = [];
  #child: EngineChild | undefined;
  #ready = false;
  /** Ends in a row without a result, and without even a start. */
  #deaths = 0;
  #failedStarts = 0;
  #startDelay: NodeJS.Timeout | undefined;
  #watchdog: NodeJS.Timeout | undefined;
  #timedOut = false;
  #stopping: Promise<void> | undefined;
  /** Called when nothing is with the process any more. */
  #onIdle: (() => void) | undefined;

  constructor(options: EngineOptions) {
    super();
    this.#logger = options.logger;
    this.#entry = options.entry ?? join(packageRoot, 'dist', 'inference', 'engine-process.js');
    this.#settings = { threads: options.threads ?? physicalCores(), spinning: options.spinning ?? false };
    this.#runTimeoutMs = options.runTimeoutMs ?? defaultRunTimeoutMs;
  }

  /** Process id, or undefined while no process is there. */
  get pid(): number | undefined {
    return this.#child?.pid;
  }

  /** Batches that wait or run. */
  get pending(): number {
    return this.#queue.size + this.#sent.length;
  }

  /**
   * Runs a batch.
   * @param sequences token ids, special tokens included, one a row; none may be empty
   * @returns for each row its numbers, as the session's output has them, or an EngineError of kind `not-finite`. Rows
   *   of a batch share one buffer: copy one that is to be kept for long.
   * Rejects with an EngineError of any other kind when there is nothing for any of the rows.
   */
  run(session: SessionSpec, sequences: readonly Sequence[], options: RunOptions = {}): Promise<RowResult[]> {
    if (this.#stopping) {
      return Promise.reject(stopped());
    }
    if (sequences.length === 0) {
      return Promise.resolve([]);
    }
    const result = this.#queue.add(session, sequences, options);
    this.#feed();
    return result;
  }

  /**
   * Ends the engine for good. What waits is rejected with `stopped`; what runs may end within `graceMs`.
   * Resolves when no process is left.
   */
  stop(graceMs = 5_000): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  /**
   * Ends the process if it has nothing to do, which gives all its memory back; the next batch starts another.
   * Returns whether it did.
   */
  async unload(): Promise<boolean> {
    const child = this.#child;
    if (!child || this.pending > 0) {
      return false;
    }
    this.#detach();
    await child.end(endGraceMs);
    return true;
  }

  async #stop(graceMs: number): Promise<void> {
    clearTimeout(this.#startDelay);
    rejectAll(this.#queue.takeAll(), stopped);
    if (this.#sent.length > 0) {
      await new Promise<void>((resolve) => {
        this.#onIdle = resolve;
        setTimeout(resolve, graceMs).unref();
      });
    }
    const child = this.#child;
    const unfinished = this.#sent;
    this.#detach();
    if (unfinished.length > 0) {
      child?.kill();
    }
    await child?.end(endGraceMs);
    rejectAll(unfinished, stopped);
  }

  /** From here on the process is no longer this engine's; its end is of no interest. */
  #detach(): void {
    clearTimeout(this.#watchdog);
    this.#child = undefined;
    this.#ready = false;
    this.#sent = [];
  }

  /** Gives the process what it can take, and starts one if there is something to give. */
  #feed(): void {
    if (this.#queue.size > 0 && !this.#child) {
      this.#startSoon();
    }
    while (this.#child && this.#ready && this.#sent.length < batchesInFlight) {
      const batch = this.#queue.peek();
      if (!batch || !this.#child.send(batch.request)) {
        break;
      }
      batch.sentAt = performance.now();
      this.#sent.push(this.#queue.take());
      if (this.#sent.length === 1) {
        this.#watch();
      }
    }
    if (this.#sent.length === 0) {
      this.#onIdle?.();
    }
  }

  #startSoon(): void {
    if (this.#startDelay || this.#stopping) {
      return;
    }
    const excess = this.#deaths - deathsBeforeDelay;
    if (excess < 0) {
      this.#start();
      return;
    }
    this.#startDelay = setTimeout(
      () => {
        this.#startDelay = undefined;
        this.#start();
      },
      Math.min(longestDelayMs, firstDelayMs * 2 ** excess),
    );
  }

  #start(): void {
    const child: EngineChild = new EngineChild({
      entry: this.#entry,
      settings: this.#settings,
      logger: this.#logger,
      onReply: (reply) => {
        if (child === this.#child) {
          this.#hear(reply);
        }
      },
      onExit: (exit) => {
        if (child === this.#child) {
          this.#bury(exit);
        }
      },
    });
    this.#child = child;
    this.#watch();
    this.#logger.debug({ enginePid: child.pid }, 'engine process started');
    this.emit('started', { pid: child.pid });
  }

  /** Starts the clock anew, or stops it when the process has nothing to do. */
  #watch(): void {
    clearTimeout(this.#watchdog);
    this.#timedOut = false;
    if (this.#ready && this.#sent.length === 0) {
      return;
    }
    this.#watchdog = setTimeout(() => {
      this.#timedOut = true;
      this.#child?.kill();
    }, this.#runTimeoutMs);
  }

  #hear(reply: EngineReply): void {
    if (reply.type === 'ready') {
      this.#ready = true;
      this.#watch();
      this.#feed();
      return;
    }
    const batch = this.#sent[0];
    if (!batch || batch.request.id !== reply.id) {
      throw new Error(`the engine process answered batch ${reply.id} out of order`);
    }
    this.#failedStarts = 0;
    this.#watch();
    if (reply.type === 'loading') {
      batch.loading = true;
      this.emit('loading', { pid: this.pid, model: batch.request.session.model });
      return;
    }
    if (reply.type === 'started') {
      batch.started = true;
      this.emit('running', { pid: this.pid, rows: batch.request.lengths.length });
      return;
    }
    this.#deaths = 0;
    this.#sent.shift();
    this.#feed();
    this.#watch();
    if (reply.type === 'result') this.emit('batch', reportOf(batch, reply.runMs));
    settle(batch, reply);
  }

  /** The process ended while it loaded a model: by what the model is, or by chance. */
  #blameLoad(batch: Batch, exit: EngineExit, timedOut: boolean): void {
    batch.loading = false;
    batch.deathsInLoad++;
    if (!timedOut && batch.deathsInLoad < deathsInLoad) return;
    const { session } = batch.request;
    const problem = timedOut ? notLoadedIn(this.#runTimeoutMs, session) : diedInLoad(exit, session);
    rejectAll(this.#queue.takeSession(session.key), problem);
  }

  /** The process ended by itself, or was killed by the clock or from outside. */
  #bury(exit: EngineExit): void {
    const timedOut = this.#timedOut;
    const sent = this.#sent;
    this.#detach();
    const first = sent[0];
    const blamed = first?.started ? sent.shift() : undefined;
    const loading = first?.loading && !first.started ? first : undefined;
    this.#queue.putBack(sent);
    if (blamed || this.#queue.size > 0) {
      this.#deaths++;
      this.#failedStarts += blamed || loading ? 0 : 1;
    }
    this.#logger.warn(
      { enginePid: exit.pid, signal: exit.signal, code: exit.code, timedOut },
      'engine process died',
    );
    this.emit('died', exit);
    blamed?.reject(timedOut ? timeout(this.#runTimeoutMs) : died(exit, blamed));
    if (loading) this.#blameLoad(loading, exit, timedOut);
    if (this.#failedStarts >= deathsBeforeDelay) {
      rejectAll(this.#queue.takeAll(), () => startFailed(exit, this.#failedStarts));
    }
    this.#feed();
  }
}

function reportOf({ request, addedAt, sentAt }: Batch, runMs: number): BatchReport {
  const { session, lengths } = request;
  return {
    model: session.model,
    rows: lengths.length,
    tokens: lengths.reduce((sum, length) => sum + length, 0),
    paddedTokens: lengths.length * longestOf(lengths),
    waitMs: sentAt - addedAt,
    runMs,
  };
}
