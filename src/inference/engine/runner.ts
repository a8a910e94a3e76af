import type { Logger } from 'pino';
import type { Phase } from '../backend/events.ts';
import type { Priority } from '../backend/priority.ts';
import type { EngineReply, EngineSettings } from '../wire/protocol.ts';
import type { Batch, Call } from './batch-queue.ts';
import { EngineChild, type EngineExit } from './engine-child.ts';

/** Batches with a process at a time: one that runs and one at hand, so that it never waits for the next. */
const BATCHES_IN_FLIGHT = 2;

export interface RunnerOptions {
  /** The module that the process runs. */
  readonly entry: string;
  readonly settings: EngineSettings;
  /** A batch that runs for longer is given up and the process killed; in ms. */
  readonly runTimeoutMs: number;
  /** The same for a model that loads; a large one may come over a network. */
  readonly loadTimeoutMs: number;
  readonly logger: Logger;
}

/** What a process has to say to its session. Not called any more after `detach`. */
export interface RunnerListener {
  /** It begins to load its session. */
  onLoading(): void;
  /** It is loaded and takes batches. */
  onReady(): void;
  onUnloadable(reply: Extract<EngineReply, { type: 'unloadable' }>): void;
  onStarted(batch: Batch): void;
  /** A batch is done, one way or the other. */
  onAnswer(batch: Batch, reply: Extract<EngineReply, { type: 'result' | 'failed' }>): void;
  onEnd(end: RunnerEnd): void;
}

/** A process that ended by itself, or was killed by the clock or from outside. */
export interface RunnerEnd {
  readonly exit: EngineExit;
  /** The batch that ran. */
  readonly blamed: Batch | undefined;
  /** Calls whose batches it had and did not begin. */
  readonly others: readonly Call[];
  /** How far it had come: before its session, while it loaded it, or with it loaded. */
  readonly phase: Phase;
  /** Whether it was killed since the batch ran for too long. */
  readonly timedOut: boolean;
}

/** One process of a session, and the batches that are with it. */
export class Runner {
  readonly #child: EngineChild;
  readonly #listener: RunnerListener;
  readonly #runTimeoutMs: number;
  readonly #loadTimeoutMs: number;
  /** With the process, by id, in the order in which they were sent. */
  readonly #sent = new Map<number, Batch>();
  #phase: Phase = 'starting';
  #detached = false;
  #watchdog: NodeJS.Timeout | undefined;
  #timedOut = false;
  /** Memory of the process as it said last. */
  residentBytes = 0;

  constructor(
    { entry, settings, runTimeoutMs, loadTimeoutMs, logger }: RunnerOptions,
    listener: RunnerListener,
  ) {
    this.#listener = listener;
    this.#runTimeoutMs = runTimeoutMs;
    this.#loadTimeoutMs = loadTimeoutMs;
    this.#child = new EngineChild({
      entry,
      settings,
      logger,
      onReply: (reply) => {
        if (!this.#detached) this.#hear(reply);
      },
      onExit: (exit) => {
        if (!this.#detached) this.#ended(exit);
      },
    });
    this.#watch();
  }

  get pid(): number | undefined {
    return this.#child.pid;
  }

  /** Whether its session is loaded. */
  get ready(): boolean {
    return this.#phase === 'ready';
  }

  /** Batches that are with it. */
  get load(): number {
    return this.#sent.size;
  }

  /** Whether it takes another batch: an interactive one goes before the one at hand, so it need not wait for room. */
  hasRoomFor(wanted: Priority): boolean {
    if (!this.ready) return false;
    if (this.#sent.size < BATCHES_IN_FLIGHT) return true;
    const sent = [...this.#sent.values()];
    return (
      wanted === 'interactive' &&
      sent.length === BATCHES_IN_FLIGHT &&
      sent.every(({ request }) => request.priority !== 'interactive')
    );
  }

  /** False when the process is going; the batch is still the caller's then. */
  send(batch: Batch): boolean {
    if (!this.#child.send(batch.request)) return false;
    this.#sent.set(batch.request.id, batch);
    if (this.#sent.size === 1) this.#watch();
    return true;
  }

  /** From here on its end and its replies are of no interest. Returns the batches that were with it. */
  detach(): Batch[] {
    clearTimeout(this.#watchdog);
    this.#detached = true;
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    return sent;
  }

  kill(): void {
    this.#child.kill();
  }

  /** Lets the process end, and kills it when that takes longer than `graceMs`. */
  end(graceMs: number): Promise<void> {
    return this.#child.end(graceMs);
  }

  /** Starts the clock again from zero, or stops it when the process has nothing to do. */
  #watch(): void {
    clearTimeout(this.#watchdog);
    if (this.ready && this.#sent.size === 0) return;
    this.#watchdog = setTimeout(
      () => {
        this.#timedOut = true;
        this.kill();
      },
      this.ready ? this.#runTimeoutMs : this.#loadTimeoutMs,
    );
  }

  #hear(reply: EngineReply): void {
    if ('residentBytes' in reply) this.residentBytes = reply.residentBytes;
    if (reply.type === 'loading') {
      this.#phase = 'loading';
      this.#listener.onLoading();
      return;
    }
    if (reply.type === 'ready') {
      this.#phase = 'ready';
      this.#watch();
      this.#listener.onReady();
      return;
    }
    if (reply.type === 'unloadable') {
      this.#listener.onUnloadable(reply);
      return;
    }
    const batch = this.#sent.get(reply.id);
    if (!batch) throw new Error(`the engine process answered batch ${reply.id}, which it does not have`);
    if (reply.type === 'started') {
      batch.started = true;
      this.#watch();
      this.#listener.onStarted(batch);
      return;
    }
    this.#sent.delete(reply.id);
    this.#watch();
    this.#listener.onAnswer(batch, reply);
  }

  #ended(exit: EngineExit): void {
    const timedOut = this.#timedOut;
    const sent = this.detach();
    const blamed = sent.find(({ started }) => started);
    const others = sent.filter((batch) => batch !== blamed).flatMap(({ calls }) => calls);
    this.#listener.onEnd({ exit, blamed, others, phase: this.#phase, timedOut });
  }
}
