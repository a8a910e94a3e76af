import type { EventEmitter } from 'node:events';
import type { Logger } from 'pino';
import { messageOf } from '../../errors.ts';
import type { EngineError } from '../backend/engine-error.ts';
import type { CallOptions, SequenceResult } from '../backend/run.ts';
import type { TokenSequence } from '../tokenizer/token-sequence.ts';
import type { EngineReply } from '../wire/protocol.ts';
import type { SessionSpec } from '../wire/session-spec.ts';
import { type Batch, BatchQueue, type Call } from './batch-queue.ts';
import { type EngineEvents, reportOf } from './engine-events.ts';
import { died, failed, rejectAll, stopped, timeout } from './engine-failures.ts';
import { Restarts } from './restarts.ts';
import { Runner, type RunnerEnd, type RunnerListener, type RunnerOptions } from './runner.ts';

/** How long a process may take to end when its channel is closed; in ms. */
const END_GRACE_MS = 1_000;

/** Full batches that wait behind full processes before another process is worth its start and its memory. */
const BACKLOG_FOR_ANOTHER = 4;

/** How long after a process could not come up beside others no further one is tried; in ms. */
const PAUSE_MS = 600_000;

/** Processes beyond the first end when there was nothing to do for so long; in ms. */
const LULL_MS = 60_000;

export interface SessionHostOptions extends Omit<RunnerOptions, 'logger'> {
  /** Most processes at a time. */
  readonly processes: number;
  /** Calls that came one by one share a batch of at most so many tokens (sequences x longest). */
  readonly sharedTokens: number;
  /** Its processes end when it had nothing to do for so long; in ms. */
  readonly idleMs: number;
  readonly logger: Logger;
  /** Where it tells what happens. */
  readonly events: EventEmitter<EngineEvents>;
}

/**
 * One session of the engine: what waits for it, and the processes that run it. Each process has the session loaded and
 * nothing else, so that loading a model, a crash or a lack of memory concerns no other session.
 *
 * The first process is started by the first call, more of them when calls pile up. A process loads the session, says
 * 'ready', and is then given up to two batches; it says 'started' before it runs one, and answers each with a result
 * or a failure. When a process ends by itself:
 *
 * - the batch that had started fails with `died` (`timeout` when it was killed for running too long);
 * - every other batch goes back to the front of the queue, for the next process, and nobody notices;
 * - while it loads the model, that is tried once more; the second time in a row, or when it was killed for taking too
 *   long, all that wait fail with `load`;
 * - before it loads the model, the installation is broken. At the third time in a row all that wait fail with `start`.
 *
 * The next process is started as soon as there is a batch for it; after three ends in a row without a result it has
 * to wait, longer each time.
 */
export class SessionHost {
  readonly spec: SessionSpec;
  readonly #options: SessionHostOptions;
  readonly #queue: BatchQueue;
  readonly #runners = new Set<Runner>();
  /** Another process could not come up beside those there are: until then no further one is tried. */
  #aloneUntil = 0;
  /** Processes that were asked to end. */
  readonly #endings = new Set<Promise<void>>();
  readonly #restarts: Restarts;
  #startDelay: NodeJS.Timeout | undefined;
  #idle: NodeJS.Timeout | undefined;
  #lull: NodeJS.Timeout | undefined;
  #stopping = false;
  /** Called when nothing is with a process any more. */
  #onQuiet: (() => void) | undefined;
  /** When it last had something to do; in ms of `performance.now`. */
  usedAt = performance.now();

  constructor(spec: SessionSpec, options: SessionHostOptions) {
    this.spec = spec;
    this.#options = options;
    this.#queue = new BatchQueue(spec.output);
    this.#restarts = new Restarts(spec, options.loadTimeoutMs);
  }

  /** Batches that wait or run. */
  get pending(): number {
    return this.#queue.size + this.#running;
  }

  get pids(): number[] {
    return [...this.#runners].flatMap(({ pid }) => pid ?? []);
  }

  /** Memory of its processes, as they said last. */
  get residentBytes(): number {
    return [...this.#runners].reduce((sum, runner) => sum + runner.residentBytes, 0);
  }

  /** `unloaded` without a process, `loading` until the first one is ready. */
  get state(): 'unloaded' | 'loading' | 'loaded' {
    if (this.#runners.size === 0) return 'unloaded';
    return [...this.#runners].some(({ ready }) => ready) ? 'loaded' : 'loading';
  }

  run(
    spec: SessionSpec,
    sequences: readonly TokenSequence[],
    options: CallOptions,
  ): Promise<SequenceResult[]> {
    const result = this.#queue.add(spec, sequences, options);
    this.#feed();
    return result;
  }

  /** Ends its processes if it has nothing to do, which gives their memory back. Returns whether it did. */
  async unload(): Promise<boolean> {
    if (this.#runners.size === 0 || this.pending > 0) return false;
    clearTimeout(this.#idle);
    this.#endAll();
    await Promise.all(this.#endings);
    this.#options.events.emit('unloaded', { model: this.spec.model });
    return true;
  }

  /** Ends it for good. What waits is rejected with `stopped`; what runs may end within `graceMs`. */
  async stop(graceMs: number): Promise<void> {
    this.#stopping = true;
    clearTimeout(this.#startDelay);
    clearTimeout(this.#idle);
    clearTimeout(this.#lull);
    rejectAll(this.#queue.takeAll(), stopped);
    if (this.#running > 0) {
      await new Promise<void>((resolve) => {
        this.#onQuiet = resolve;
        setTimeout(resolve, graceMs).unref();
      });
    }
    this.#endAll();
    // What came back from a process that died meanwhile.
    rejectAll(this.#queue.takeAll(), stopped);
    await Promise.all(this.#endings);
  }

  /** Batches that are with processes. */
  get #running(): number {
    return [...this.#runners].reduce((sum, { load }) => sum + load, 0);
  }

  #endAll(): void {
    for (const runner of this.#runners) this.#end(runner);
  }

  /** Asks a process to end. It is no longer one of this session's, and what it has not finished is rejected. */
  #end(runner: Runner): void {
    this.#runners.delete(runner);
    const unfinished = runner.detach().flatMap(({ calls }) => calls);
    if (unfinished.length > 0) runner.kill();
    const ending = runner.end(END_GRACE_MS).then(() => {
      rejectAll(unfinished, stopped);
      this.#endings.delete(ending);
    });
    this.#endings.add(ending);
  }

  /** Gives the processes what they can take, and starts one if there is something to give. */
  #feed(): void {
    this.usedAt = performance.now();
    for (let runner = this.#freeRunner(); runner; runner = this.#freeRunner()) {
      const batch = this.#queue.take(this.#options.sharedTokens);
      if (!runner.send(batch)) {
        this.#queue.putBack(batch.calls);
        break;
      }
    }
    if (this.#wantsAnother()) this.#startSoon();
    if (this.#running === 0) this.#onQuiet?.();
    clearTimeout(this.#idle);
    clearTimeout(this.#lull);
    if (this.pending === 0 && this.#runners.size > 0 && !this.#stopping) {
      this.#idle = setTimeout(() => void this.unload(), this.#options.idleMs).unref();
      this.#lull = setTimeout(() => this.#keepOne(), LULL_MS).unref();
    }
  }

  /** The process for the next batch: of those with room, the one with least to do. */
  #freeRunner(): Runner | undefined {
    const wanted = this.#queue.nextPriority;
    if (wanted === undefined) return undefined;
    const free = [...this.#runners].filter((runner) => runner.hasRoomFor(wanted));
    return free.sort((a, b) => a.load - b.load)[0];
  }

  #wantsAnother(): boolean {
    const runners = [...this.#runners];
    if (this.#queue.size === 0 || runners.some(({ ready }) => !ready)) return false;
    if (runners.length === 0) return true;
    const { processes, sharedTokens } = this.#options;
    const backlog = this.#queue.tokens >= BACKLOG_FOR_ANOTHER * sharedTokens;
    return backlog && runners.length < processes && performance.now() >= this.#aloneUntil;
  }

  #keepOne(): void {
    for (const runner of [...this.#runners].slice(1)) this.#end(runner);
  }

  #startSoon(): void {
    if (this.#startDelay || this.#stopping) return;
    const { delayMs } = this.#restarts;
    if (delayMs === 0) {
      this.#start();
      return;
    }
    this.#startDelay = setTimeout(() => {
      this.#startDelay = undefined;
      if (this.#wantsAnother()) this.#start();
    }, delayMs);
  }

  #start(): void {
    const begin = performance.now();
    const { model } = this.spec;
    const { events, logger } = this.#options;
    let runner: Runner;
    const listener: RunnerListener = {
      onLoading: () => events.emit('loading', { pid: runner.pid, model }),
      onReady: () => {
        this.#restarts.loaded();
        events.emit('loaded', { pid: runner.pid, model, loadMs: performance.now() - begin });
        this.#feed();
      },
      onUnloadable: (reply) => {
        this.#end(runner);
        // Where other processes have it loaded, they serve what waits.
        if (this.#runners.size > 0) this.#aloneUntil = performance.now() + PAUSE_MS;
        else rejectAll(this.#queue.takeAll(), () => failed(reply));
      },
      onStarted: (batch) => events.emit('running', { pid: runner.pid, rows: batch.request.lengths.length }),
      onAnswer: (batch, reply) => this.#answer(batch, reply),
      onEnd: (end) => {
        this.#runners.delete(runner);
        this.#ended(end);
      },
    };
    try {
      runner = new Runner(this.#options, listener);
    } catch (error) {
      // The system has no room for another process. As if it had ended at once.
      const exit = { pid: undefined, signal: null, code: null, lastWords: messageOf(error) };
      setImmediate(() =>
        this.#ended({ exit, blamed: undefined, others: [], phase: 'starting', timedOut: false }),
      );
      return;
    }
    this.#runners.add(runner);
    logger.debug({ enginePid: runner.pid, model }, 'engine process started');
    events.emit('started', { pid: runner.pid, model });
  }

  #answer(batch: Batch, reply: Extract<EngineReply, { type: 'result' | 'failed' }>): void {
    this.#restarts.worked();
    // The process is busy again before anybody looks at what it gave.
    this.#feed();
    if (reply.type === 'failed') {
      this.#fail(batch.calls, () => failed(reply));
      return;
    }
    this.#retryAlone(this.#queue.resolve(batch, reply));
    this.#options.events.emit('batch', reportOf(batch, this.spec, reply.runMs));
  }

  #ended(end: RunnerEnd): void {
    const { exit, blamed, others, phase, timedOut } = end;
    this.#queue.putBack(others);
    const { model } = this.spec;
    this.#options.logger.warn(
      { enginePid: exit.pid, model, signal: exit.signal, code: exit.code, timedOut },
      'engine process died',
    );
    this.#options.events.emit('died', { ...exit, model, phase });
    const giveUp = this.#restarts.ended(end, blamed !== undefined || this.#queue.size > 0);
    if (blamed) {
      const rows = blamed.request.lengths.length;
      this.#fail(blamed.calls, () => (timedOut ? timeout(this.#options.runTimeoutMs) : died(exit, rows)));
    }
    if (this.#runners.size > 0) {
      // What waits is for the other processes, and this one was one too many.
      if (phase !== 'ready') this.#aloneUntil = performance.now() + PAUSE_MS;
    } else if (giveUp) {
      rejectAll(this.#queue.takeAll(), giveUp);
    }
    this.#feed();
  }

  /** A batch failed. Calls that shared it are tried one by one: which of them is to blame nobody knows yet. */
  #fail(calls: readonly Call[], error: () => EngineError): void {
    if (calls.length === 1) rejectAll(calls, error);
    else this.#retryAlone(calls);
  }

  #retryAlone(calls: readonly Call[]): void {
    if (calls.length === 0) return;
    if (this.#stopping) {
      rejectAll(calls, stopped);
      return;
    }
    for (const call of calls) call.alone = true;
    this.#queue.putBack(calls);
    this.#feed();
  }
}
