import { setTimeout as wait } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import {
  backfillsDue,
  claimBackfill,
  claimJobs,
  claimSuspects,
  type Job,
  leasedElsewhere,
  suspectsWait,
} from '../queue/jobs.ts';
import { setIdle } from '../queue/workers.ts';
import { persist, type WorkerContext } from './context.ts';
import { describe } from './describe.ts';
import type { Holdings } from './holdings.ts';
import type { Housekeeping } from './housekeeping.ts';
import { inTime } from './lanes.ts';
import type { Registry } from './registry.ts';
import { Signal } from './signal.ts';

/** While batches are under way, new jobs are looked for this often: nobody is notified when no worker sleeps. */
const BUSY_POLL_MS = 20;
/** The first and the longest wait of a sleeping worker. NOTIFY ends it; the poll is for what NOTIFY can miss. */
const IDLE_POLL_MS = 50;
const IDLE_POLL_LIMIT_MS = 5_000;
/** The longest wait where LISTEN does not work: then the poll is all there is. */
const DEAF_POLL_LIMIT_MS = 1_000;
/** The longest wait where the server has prepared transactions: writers then send no NOTIFY. */
const SILENT_POLL_LIMIT_MS = 250;
/** The wait after a look for jobs that the server refused. */
const REFUSED_MS = 1_000;
/** While something is always due, a group of suspects has its turn this often. */
const SUSPECTS_MS = 5_000;
/** How long the loop waits for rows out of a backfill before it looks for jobs again. */
const WALK_MS = 100;
/** How long a worker that stops waits for a walk. */
const LAST_WALK_MS = 1_000;
/** At the end of a drain: between two looks whether whoever holds the last rows is alive. */
const ELSEWHERE_MS = 500;
/** Declarations are read again this often, for the case that their notification was lost. */
const RELOAD_MS = 5_000;

/**
 * Looks for jobs and hands them on. Its states:
 *
 * - full: it holds two windows of jobs, one at the engine and one that is read and tokenized meanwhile. It claims
 *   nothing until a whole window has come free, since a window is what is sorted by length. Next: busy.
 * - busy: it claims up to a window, again and again, until nothing is due; then it takes rows out of backfills, up to two
 *   windows beside; and looks each 20 ms while batches are under way. Next: full, or idle when the last of them is done.
 *   What a backfill has given waits behind everything else at the engine, and does not count towards full.
 * - alone: a group of suspects (sql/09_worker.sql) is under way, one of which may have killed a worker. Nothing else is claimed
 *   until it is done. It has its turn when nothing else is due, or every five seconds.
 * - idle: it writes `idle` on its row of the register, which makes triggers notify, and looks once more, for jobs
 *   committed before anybody could see that it sleeps. Then it waits: for NOTIFY, and for a poll that starts at 50 ms,
 *   doubles up to 5 s, and finds the jobs of transactions that looked at the register before and committed after.
 *   The first jobs found make it busy.
 */
export class ClaimLoop {
  readonly #context: WorkerContext;
  readonly #registry: Registry;
  readonly #holdings: Holdings;
  readonly #housekeeping: Housekeeping;
  readonly #window: number;
  readonly #take: (jobs: Job[]) => void;
  readonly #listening: () => boolean;
  readonly #signal = new Signal();
  #stopping = false;
  /** The number under which the register has this worker as idle; undefined while it is busy. */
  #idleAs: number | undefined;
  #idleWrite: Promise<unknown> = Promise.resolve();
  #pollMs = IDLE_POLL_MS;
  #reloadAt = 0;
  #suspectsAt = performance.now() + SUSPECTS_MS;
  /** Walks through backfills that are under way, by pipeline. */
  readonly #walks = new Map<number, Promise<unknown>>();
  /** Unless 'none', nothing is claimed until nothing is held. */
  #suspects: 'none' | 'wanted' | 'under way' = 'none';
  /** Other workers that hold leases at the end of a drain, with the first sign of life that was seen of each. */
  readonly #elsewhere = new Map<number, number>();
  #heldElsewhere = 0;

  constructor(
    context: WorkerContext,
    registry: Registry,
    holdings: Holdings,
    housekeeping: Housekeeping,
    options: { window: number; take: (jobs: Job[]) => void; listening: () => boolean },
  ) {
    this.#context = context;
    this.#registry = registry;
    this.#holdings = holdings;
    this.#housekeeping = housekeeping;
    this.#window = options.window;
    this.#take = options.take;
    this.#listening = options.listening;
    holdings.on('freed', () => this.#signal.give());
  }

  /** Somebody notified: new jobs, or 'pipeline' for a changed declaration. */
  wake(payload: string): void {
    if (payload === 'pipeline') {
      this.#reloadAt = 0;
      this.#housekeeping.changed();
    }
    this.#signal.give();
  }

  stop(): void {
    this.#stopping = true;
    this.#signal.give();
  }

  /** How many rows living workers held when the drain ended. */
  get heldElsewhere(): number {
    return this.#heldElsewhere;
  }

  /** Claims until it is stopped; with `untilEmpty`, until nothing is due and nothing is held. */
  async run(untilEmpty: boolean): Promise<void> {
    let ended = false;
    while (!this.#stopping && !ended) {
      try {
        ended = await this.#step(untilEmpty);
      } catch (error) {
        if (untilEmpty || this.#context.signal.aborted) throw error;
        // A server that has become read-only, a full disk, a migration under way: it passes, and then work goes on.
        this.#context.logger.error({ reason: messageOf(error) }, 'could not look for jobs');
        await this.#signal.wait(REFUSED_MS);
      }
    }
    await this.#idleWrite;
    if (this.#walks.size > 0) await Promise.race([Promise.all(this.#walks.values()), wait(LAST_WALK_MS)]);
  }

  /** One look for jobs. True: nothing is due and nothing held, and that is what `run` was to wait for. */
  async #step(untilEmpty: boolean): Promise<boolean> {
    await this.#reload();
    // Asked before the claim: what is given back while it runs is due, and it has not seen that.
    const holding = this.#holdings.size > 0 || this.#walks.size > 0;
    const full = this.#holdings.others(this.#context.lanes.slow(), false) > this.#window;
    if (full || (holding && this.#suspects !== 'none')) {
      await this.#signal.wait(RELOAD_MS);
      return false;
    }
    if (this.#suspects !== 'none') {
      const wanted = this.#suspects === 'wanted';
      this.#suspects = 'none';
      if (wanted && (await this.#claimSuspects())) return false;
    }
    if (performance.now() > this.#suspectsAt) {
      this.#suspectsAt = performance.now() + SUSPECTS_MS;
      if (await persist(this.#context, () => suspectsWait(this.#context.database))) this.#suspects = 'wanted';
      if (this.#suspects === 'wanted') return false;
    }
    const begin = performance.now();
    const { jobs, more } = await this.#claim();
    if (jobs.length > 0) {
      this.#becomeBusy(jobs, performance.now() - begin);
      // Nothing else was due. Another look now would take the processor from a row that somebody waits for.
      if (jobs.length < this.#window) await this.#signal.wait(BUSY_POLL_MS);
    } else if (holding || more) {
      await this.#signal.wait(BUSY_POLL_MS);
    } else if (await this.#claimSuspects()) {
      return false;
    } else if (untilEmpty) {
      return (await this.#allHaveHolders()) && this.#housekeeping.finish();
    } else {
      await this.#sleep();
    }
    return false;
  }

  /** Claims a group of suspects, when nothing is held. False: there is none. */
  async #claimSuspects(): Promise<boolean> {
    const pipelines = this.#registry.claimable();
    if (pipelines.length === 0) return false;
    const begin = performance.now();
    const { database, claimant } = this.#context;
    const jobs = await persist(this.#context, () => claimSuspects(database, claimant, pipelines));
    if (jobs.length === 0) return false;
    this.#suspects = 'under way';
    this.#becomeBusy(jobs, performance.now() - begin);
    return true;
  }

  /**
   * Whether all that other workers hold is held by such as live, which is known when another sign of life has come from each.
   * What the others held is freed by the heartbeat's rescue, and then due.
   */
  async #allHaveHolders(): Promise<boolean> {
    const { database, claimant } = this.#context;
    const held = await persist(this.#context, () => leasedElsewhere(database, claimant));
    this.#heldElsewhere = held.reduce((sum, { rows }) => sum + rows, 0);
    const unsure = held.filter(({ worker, beatAt }) => {
      const seen = this.#elsewhere.get(worker) ?? beatAt?.getTime();
      if (seen !== undefined) this.#elsewhere.set(worker, seen);
      return beatAt === null || beatAt.getTime() === seen;
    });
    if (unsure.length > 0) await this.#signal.wait(ELSEWHERE_MS);
    return unsure.length === 0;
  }

  /** Jobs that are due; else, unless two windows of them are under way, rows out of backfills. */
  async #claim(): Promise<{ jobs: Job[]; more: boolean }> {
    const pipelines = this.#registry.claimable();
    if (pipelines.length === 0) return { jobs: [], more: false };
    const { database, claimant } = this.#context;
    const jobs = await persist(this.#context, () => claimJobs(database, claimant, pipelines, this.#window));
    if (jobs.length > 0 || this.#holdings.others(this.#context.lanes.slow(), true) > this.#window)
      return { jobs, more: false };
    const due = await persist(this.#context, () => backfillsDue(database, pipelines));
    let more = false;
    for (const { pipelineId, soon } of due) {
      more ||= soon;
      if (soon || this.#walks.has(pipelineId)) continue;
      const walk = this.#walkBackfill(pipelineId).finally(() => {
        this.#walks.delete(pipelineId);
        this.#signal.give();
      });
      this.#walks.set(pipelineId, walk);
      const outcome = await Promise.race([walk, wait(WALK_MS, 'slow' as const)]);
      if (outcome === 'rows') return { jobs: [], more: true };
      more ||= outcome !== 'none';
    }
    return { jobs: [], more };
  }

  /**
   * Takes rows out of the backfill of a pipeline. Its owner has code run here, in a filter or a condition: so it is one pipeline
   * a statement, and the loop does not wait for one that takes long.
   */
  async #walkBackfill(pipelineId: number): Promise<'rows' | 'none' | 'more'> {
    const { pipelines: tables, claimant, lanes } = this.#context;
    const begin = performance.now();
    try {
      const { jobs, more } = await lanes.run(pipelineId, () =>
        persist(this.#context, () =>
          inTime('looking for rows of its backfill', () =>
            claimBackfill(tables, claimant, [pipelineId], this.#window),
          ),
        ),
      );
      await this.#registry.walked(pipelineId);
      if (jobs.length === 0) return more ? 'more' : 'none';
      // When it has stopped meanwhile, whoever is there frees them: it goes off the register.
      if (!this.#stopping) this.#becomeBusy(jobs, performance.now() - begin);
      return 'rows';
    } catch (error) {
      if (this.#context.signal.aborted) return 'none';
      const problem = `its backfill does not go on: ${describe(error)}`;
      await this.#registry
        .walked(pipelineId, problem)
        .catch((failure: unknown) => this.#context.logger.error({ reason: messageOf(failure) }, problem));
      return 'none';
    }
  }

  #becomeBusy(jobs: Job[], ms: number): void {
    this.#setIdle(false);
    this.#pollMs = IDLE_POLL_MS;
    this.#housekeeping.claimed();
    this.#holdings.add(jobs);
    this.#context.events.emit('claimed', jobs.length, { ms, backfill: jobs[0]!.backfill });
    this.#take(jobs);
  }

  async #sleep(): Promise<void> {
    // Compared with the number and not just noted: a worker that was taken for dead has a new row on the register.
    if (this.#idleAs !== this.#context.claimant.workerId) {
      this.#setIdle(true);
      await this.#idleWrite;
      return;
    }
    if (this.#registry.filling()) this.#housekeeping.tick();
    this.#context.events.emit('idle');
    await this.#signal.wait(this.#pollMs);
    this.#pollMs = Math.min(this.#pollMs * 2, this.#pollLimit());
  }

  #pollLimit(): number {
    if (this.#context.silentWriters) return SILENT_POLL_LIMIT_MS;
    return this.#listening() ? IDLE_POLL_LIMIT_MS : DEAF_POLL_LIMIT_MS;
  }

  /** The job in hand does not wait for this, but the next change does. */
  #setIdle(idle: boolean): void {
    const { database, claimant } = this.#context;
    const idleAs = idle ? claimant.workerId : undefined;
    if (idleAs === this.#idleAs) return;
    this.#idleAs = idleAs;
    this.#idleWrite = this.#idleWrite
      .then(() => persist(this.#context, () => setIdle(database, claimant.workerId, idle)))
      .catch((error: unknown) => {
        this.#context.logger.warn({ reason: messageOf(error) }, 'could not write the idle mark');
        // Nobody would notify a worker that only believes it is marked.
        if (this.#idleAs === idleAs) this.#idleAs = undefined;
      });
  }

  async #reload(): Promise<void> {
    if (performance.now() < this.#reloadAt) return;
    this.#reloadAt = performance.now() + RELOAD_MS;
    await this.#registry.reload();
    this.#housekeeping.tick();
  }
}
