import { setTimeout as wait } from 'node:timers/promises';
import { messageOf } from '../errors.ts';
import { claimJobs, claimSuspects, type Job, suspectsWait } from '../queue/jobs.ts';
import { BackfillWalks } from './backfill-walks.ts';
import { persist, type WorkerContext } from './context.ts';
import { HeldElsewhere } from './held-elsewhere.ts';
import type { Holdings } from './holdings.ts';
import type { Housekeeping } from './housekeeping.ts';
import { IdleMark } from './idle-mark.ts';
import { LookBack } from './look-back.ts';
import type { Quiet } from './quiet.ts';
import type { ServedPipelines } from './served-pipelines.ts';
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
/** So long the first claim waits at most until the tables were looked at. */
const FIRST_LOOK_MS = 2_000;
/** The wait after a look for jobs that the server refused. */
const REFUSED_MS = 1_000;
/** While something is always due, a group of suspects has its turn this often. */
const SUSPECTS_MS = 5_000;
/** At the end of a drain: the wait between two looks at whether those who hold the last rows are alive. */
const ELSEWHERE_MS = 500;
/** Declarations are read again this often, in case a notification was lost. */
const RELOAD_MS = 5_000;

/**
 * Looks for jobs and hands them on. Its states:
 *
 * - full: it holds two windows of jobs, one at the engine and one that is read and tokenized meanwhile. It claims
 *   nothing until a whole window has come free, since a window is what is sorted by length. Next: busy.
 * - busy: it claims up to a window, again and again, until nothing is due; then it takes rows out of backfills, up to two
 *   windows of these as well; and looks each 20 ms while batches are under way. Next: full, or idle when the last of them is done.
 *   Rows of a backfill wait behind all others at the engine, and do not count towards full.
 * - alone: a group of suspects (sql/queue/rescue.sql) is under way, one of which may have killed a worker. Nothing else is claimed
 *   until it is done. It has its turn when nothing else is due, or every five seconds.
 * - idle: it writes `idle` on its row of the register, which makes triggers notify, and looks once more, for jobs
 *   committed before anybody could see that it sleeps. Then it waits: for NOTIFY, and for a poll that starts at 50 ms,
 *   doubles up to 5 s, and finds the jobs of transactions that looked at the register before and committed after.
 *   The first jobs found make it busy.
 * - quiet, only where the operator wants it (quiet.ts): idle, without poll and heartbeat.
 */
export class ClaimLoop {
  readonly #context: WorkerContext;
  readonly #pipelines: ServedPipelines;
  readonly #holdings: Holdings;
  readonly #housekeeping: Housekeeping;
  readonly #quiet: Quiet;
  readonly #window: number;
  readonly #take: (jobs: Job[], ms: number) => void;
  readonly #listening: () => boolean;
  readonly #signal = new Signal();
  readonly #idleMark: IdleMark;
  readonly #walks: BackfillWalks;
  readonly #elsewhere: HeldElsewhere;
  #stopping = false;
  #pollMs = IDLE_POLL_MS;
  #reloadAt = 0;
  #hasLooked = false;
  #suspectsAt = performance.now() + SUSPECTS_MS;
  readonly #lookBack = new LookBack();
  /** Unless this is 'none', nothing is claimed before all that is held is done. */
  #suspects: 'none' | 'wanted' | 'under way' = 'none';

  constructor(
    context: WorkerContext,
    pipelines: ServedPipelines,
    holdings: Holdings,
    housekeeping: Housekeeping,
    quiet: Quiet,
    options: { window: number; take: (jobs: Job[], ms: number) => void; listening: () => boolean },
  ) {
    this.#context = context;
    this.#pipelines = pipelines;
    this.#holdings = holdings;
    this.#housekeeping = housekeeping;
    this.#quiet = quiet;
    this.#window = options.window;
    this.#take = options.take;
    this.#listening = options.listening;
    this.#idleMark = new IdleMark(context);
    this.#elsewhere = new HeldElsewhere(context);
    this.#walks = new BackfillWalks(context, pipelines, {
      window: options.window,
      take: (jobs, ms) => this.#becomeBusy(jobs, ms),
      onEnd: () => this.#signal.give(),
    });
    holdings.on('freed', () => this.#signal.give());
  }

  /** Somebody notified: new jobs, or 'pipeline' for a changed declaration. */
  wake(payload: string): void {
    if (payload === 'pipeline') {
      this.#reloadAt = 0;
      this.#housekeeping.changed();
    }
    // The writers that came after this one have notified nobody: they are looked for sooner.
    this.#pollMs = IDLE_POLL_MS;
    this.#signal.give();
  }

  stop(): void {
    this.#stopping = true;
    this.#walks.stop();
    this.#signal.give();
  }

  /** How many rows living workers held when the drain ended. */
  get heldElsewhere(): number {
    return this.#elsewhere.rows;
  }

  /** Claims until it is stopped; with `untilEmpty`, until nothing is due and nothing is held. */
  async run(untilEmpty: boolean): Promise<void> {
    let ended = false;
    while (!this.#stopping && !ended) {
      try {
        ended = await this.#step(untilEmpty);
      } catch (error) {
        if (untilEmpty || this.#context.signal.aborted) throw error;
        // A server that has become read-only, a full disk, a migration under way: such things pass, and then work goes on.
        this.#context.logger.error({ reason: messageOf(error) }, 'could not look for jobs');
        await this.#signal.wait(REFUSED_MS);
      }
    }
    await this.#idleMark.settled();
    await this.#walks.ended();
  }

  /** One look for jobs. True: `run` was to wait until nothing is due and nothing is held, and that is so. */
  async #step(untilEmpty: boolean): Promise<boolean> {
    if (this.#quiet.isQuiet) await this.#quiet.end();
    await this.#reload();
    // Asked before the claim: jobs that are given back while the claim runs are due, and it may not have seen them.
    const holding = this.#holdings.size > 0 || this.#walks.size > 0;
    const full = this.#holdings.others(this.#context.lanes.slow(), 'normal') > this.#window;
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
    const ids = this.#pipelines.claimable();
    // Before a drain ends all is looked at.
    if (untilEmpty) this.#lookBack.forget();
    const claimed = await this.#claimDue(ids);
    if (claimed > 0) {
      // Nothing else was due. Another look now would take the processor from a row that somebody waits for.
      if (claimed < this.#window) await this.#signal.wait(BUSY_POLL_MS);
      return false;
    }
    const again = await this.#walkOn(ids);
    if (holding || again) {
      await this.#signal.wait(BUSY_POLL_MS);
    } else if (await this.#claimSuspects()) {
      return false;
    } else if (untilEmpty && this.#pipelines.restMs() > 0) {
      await this.#signal.wait(Math.min(RELOAD_MS, this.#pipelines.restMs()));
    } else if (untilEmpty) {
      return (await this.#allHaveHolders()) && this.#housekeeping.finish();
    } else {
      await this.#sleep();
    }
    return false;
  }

  /** Claims a group of suspects, when nothing is held. False: there is no such group. */
  async #claimSuspects(): Promise<boolean> {
    const ids = this.#pipelines.claimable();
    if (ids.length === 0) return false;
    const begin = performance.now();
    const { database, claimant } = this.#context;
    const jobs = await persist(this.#context, () => claimSuspects(database, claimant, ids));
    if (jobs.length === 0) return false;
    this.#suspects = 'under way';
    this.#becomeBusy(jobs, performance.now() - begin);
    return true;
  }

  /** Claims jobs that are due; returns how many. */
  async #claimDue(ids: readonly number[]): Promise<number> {
    if (ids.length === 0) return 0;
    const begin = performance.now();
    const { database, claimant } = this.#context;
    const lookBack = this.#lookBack.seconds(ids, begin);
    const jobs = await persist(this.#context, () =>
      claimJobs(database, claimant, ids, this.#window, lookBack),
    );
    if (jobs.length < this.#window) this.#lookBack.drained(ids, begin);
    if (jobs.length > 0) this.#becomeBusy(jobs, performance.now() - begin);
    return jobs.length;
  }

  /** Takes rows out of backfills, unless two windows of them are under way. True: there is reason to look again in a moment. */
  async #walkOn(ids: readonly number[]): Promise<boolean> {
    const full = this.#holdings.others(this.#context.lanes.slow(), 'backfill') > this.#window;
    return ids.length > 0 && !full && this.#walks.goOn(ids);
  }

  /** Whether all rows that other workers hold are held by living ones. Waits a moment where that is not known yet. */
  async #allHaveHolders(): Promise<boolean> {
    const known = await this.#elsewhere.byLivingOnly();
    if (!known) await this.#signal.wait(ELSEWHERE_MS);
    return known;
  }

  #becomeBusy(jobs: Job[], ms: number): void {
    this.#idleMark.clear();
    this.#pollMs = IDLE_POLL_MS;
    this.#quiet.busy();
    this.#housekeeping.claimed();
    this.#holdings.add(jobs);
    this.#context.events.emit('claimed', jobs.length, { ms, backfill: jobs[0]!.priority === 'backfill' });
    this.#take(jobs, ms);
  }

  async #sleep(): Promise<void> {
    if (!this.#idleMark.isSet) {
      // Before the first wait it looks once more.
      await this.#idleMark.set();
      return;
    }
    if (this.#pipelines.filling()) void this.#housekeeping.tick();
    this.#context.events.emit('idle');
    if (this.#pipelines.filling() || this.#pipelines.restMs() > 0 || this.#housekeeping.isBusy)
      this.#quiet.busy();
    const quietMs = await this.#quiet.idle(this.#pipelines.claimable());
    await this.#signal.wait(quietMs || this.#pollMs);
    this.#pollMs = Math.min(this.#pollMs * 2, this.#pollLimit());
  }

  #pollLimit(): number {
    if (this.#context.silentWriters) return SILENT_POLL_LIMIT_MS;
    return this.#listening() ? IDLE_POLL_LIMIT_MS : DEAF_POLL_LIMIT_MS;
  }

  async #reload(): Promise<void> {
    if (performance.now() < this.#reloadAt) return;
    this.#reloadAt = performance.now() + RELOAD_MS;
    this.#lookBack.forget();
    await this.#pipelines.reload();
    const looked = this.#housekeeping.tick();
    // Before the first claim: where changes were missed while no worker ran, jobs that are held would be made again.
    if (!this.#hasLooked) await Promise.race([looked, wait(FIRST_LOOK_MS, undefined, { ref: false })]);
    this.#hasLooked = true;
  }
}
