import type { Listener } from '../database/listener.ts';
import { goQuiet } from '../queue/workers.ts';
import { persist, type WorkerContext } from './context.ts';
import type { Heartbeat } from './registration.ts';

/** When a worker without work goes quiet, and for how long. */
export interface QuietIdle {
  /** The longest time between two looks at the database. */
  readonly lookSeconds: number;
  /**
   * Without work for this long it goes quiet. A transaction that has queued a row before the worker was idle and commits after it
   * is quiet sends no NOTIFY: so this is longer than transactions commonly are. Default: 60 s.
   */
  readonly afterSeconds?: number;
}

const AFTER_SECONDS = 60;

/**
 * A worker that is quiet says nothing to the server: no heartbeat, no poll, no check of its connection. It only listens, so that
 * a database that is paid by the time in which it works can sleep. A notification ends it, a job that becomes due (a retry), and
 * the next look.
 */
export class Quiet {
  readonly #context: WorkerContext;
  readonly #heartbeat: Heartbeat;
  readonly #listener: () => Listener | null;
  readonly #times: QuietIdle | undefined;
  #idleSince: number | undefined;
  #isQuiet = false;

  /** @param times undefined: it never goes quiet */
  constructor(
    context: WorkerContext,
    heartbeat: Heartbeat,
    listener: () => Listener | null,
    times: QuietIdle | undefined,
  ) {
    this.#context = context;
    this.#heartbeat = heartbeat;
    this.#listener = listener;
    this.#times = times;
  }

  /** Whether nothing is to be said to the server. */
  get isQuiet(): boolean {
    return this.#isQuiet;
  }

  /** There was work. */
  busy(): void {
    this.#idleSince = undefined;
  }

  /** There is no work, now. Goes quiet where that has lasted; returns how long at most, 0 where it does not. */
  async idle(pipelineIds: readonly number[]): Promise<number> {
    const listener = this.#listener();
    if (!this.#times || !listener?.connected) return 0;
    const { lookSeconds, afterSeconds = AFTER_SECONDS } = this.#times;
    this.#idleSince ??= performance.now();
    if (performance.now() - this.#idleSince < afterSeconds * 1_000) return 0;
    const { database, claimant, events } = this.#context;
    const seconds = await persist(this.#context, () =>
      goQuiet(database, claimant.workerId, pipelineIds, afterSeconds, lookSeconds),
    );
    if (seconds === null) return 0;
    this.#isQuiet = true;
    await this.#heartbeat.stop();
    listener.rest();
    events.emit('quiet', seconds);
    return seconds * 1_000;
  }

  /** Speaks to the server again. Resolves when it has heard from this worker. */
  async end(): Promise<void> {
    await this.#heartbeat.beat();
    this.#heartbeat.start();
    this.#listener()?.resume();
    this.#isQuiet = false;
    this.#idleSince = undefined;
  }
}
