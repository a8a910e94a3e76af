import { hostname } from 'node:os';
import { setTimeout as wait } from 'node:timers/promises';
import type { Database } from '../database/database.ts';
import { renewLeases } from '../queue/jobs.ts';
import { tidyRequests } from '../queue/requests.ts';
import { beat, deregisterWorker, registerWorker, rescueJobs } from '../queue/workers.ts';
import { version } from '../version.ts';
import { persist, type WorkerContext } from './context.ts';
import type { Holdings } from './holdings.ts';

/** How often a worker says that it lives. embedder.worker_timeout() is five of these. */
export const HEARTBEAT_MS = 2_000;
/** Leases are renewed when a third of them is over: two renewals may fail before one runs out. */
const RENEWALS_PER_LEASE = 3;

/** A worker that stops looks this often whether its jobs are still locked. */
const LOCKED_MS = 200;

/** Puts a worker on the register; returns its number. */
export function register(database: Database, listening: boolean): Promise<number> {
  return registerWorker(database, { hostname: hostname(), pid: process.pid, version, listening });
}

/**
 * Takes a worker off the register. What it still holds is freed. It waits for jobs that somebody has locked, unless other
 * workers are there to free them later.
 */
export async function deregister(context: WorkerContext): Promise<void> {
  const { database, claimant, signal } = context;
  const deregisterOnce = () => persist(context, () => deregisterWorker(database, claimant.workerId));
  while ((await deregisterOnce()) > 0) await wait(LOCKED_MS, undefined, { signal });
}

/**
 * What a worker does every two seconds: says on a connection of its own that it lives, frees the jobs of workers that do
 * not, clears requests that nobody waits for, and renews its leases.
 */
export class Heartbeat {
  readonly #context: WorkerContext;
  readonly #holdings: Holdings;
  readonly #listening: () => boolean;
  readonly #timers: NodeJS.Timeout[] = [];
  readonly #running = new Map<string, Promise<void>>();
  #renewedAt = performance.now();

  constructor(context: WorkerContext, holdings: Holdings, listening: () => boolean) {
    this.#context = context;
    this.#holdings = holdings;
    this.#listening = listening;
  }

  start(): void {
    this.#repeat('beat', () => this.beat());
    this.#repeat('rescue', () => this.rescue());
    this.#repeat('renewal', () => this.#renewInTime());
    this.#repeat('requests', () => tidyRequests(this.#context.database));
  }

  async stop(): Promise<void> {
    for (const timer of this.#timers.splice(0)) clearInterval(timer);
    await Promise.all(this.#running.values());
  }

  /** One beat. */
  async beat(): Promise<void> {
    const context = this.#context;
    if (await persist(context, () => beat(context.heart, context.claimant.workerId))) return;
    // It was silent for too long (the machine slept, or the server was away), and its jobs were freed.
    const workerId = await register(context.heart, this.#listening());
    context.logger.warn({ worker: workerId }, 'was taken for dead, registered again');
    context.claimant = { ...context.claimant, workerId };
    context.events.emit('registeredAnew');
    this.#loseLeases();
    this.#renewedAt = performance.now();
  }

  /** Frees the jobs of workers whose heartbeat is gone. */
  async rescue(): Promise<void> {
    const freed = await persist(this.#context, () => rescueJobs(this.#context.database));
    if (freed === 0) return;
    this.#context.logger.warn({ rows: freed }, 'freed the jobs of a worker that is gone');
    this.#context.events.emit('rescued', freed);
  }

  /** The tasks do not wait for each other. A task that is still running is not started again, so that they do not pile up
   * while the server is away. */
  #repeat(what: string, task: () => Promise<void>): void {
    const turn = () => {
      if (this.#running.has(what)) return;
      const run = task()
        .catch((error: unknown) => this.#context.logger.warn({ err: error }, `${what} failed`))
        .finally(() => this.#running.delete(what));
      this.#running.set(what, run);
    };
    this.#timers.push(setInterval(turn, HEARTBEAT_MS));
  }

  async #renewInTime(): Promise<void> {
    const third = (this.#context.claimant.leaseSeconds * 1_000) / RENEWALS_PER_LEASE;
    if (performance.now() - this.#renewedAt < third) return;
    const since = this.#renewedAt;
    for (const jobs of this.#holdings.byPipeline()) {
      await persist(this.#context, () => renewLeases(this.#context.database, this.#context.claimant, jobs));
    }
    this.#renewedAt = performance.now();
    if (this.#renewedAt - since > this.#context.claimant.leaseSeconds * 1_000) this.#loseLeases();
  }

  #loseLeases(): void {
    if (this.#holdings.size > 0) this.#context.events.emit('leasesLost', this.#holdings.size);
  }
}
