import type { Database } from '../database/database.ts';
import { migrationState } from '../database/migrate/applied-files.ts';
import { codeOf, messageOf } from '../errors.ts';
import type { Worker, WorkerState } from '../worker/worker.ts';
import { withinTime } from './within-time.ts';

/** What has to be well for a worker to do its work; each is 'ok' or says what is not. */
export interface ReadinessReport {
  readonly ready: boolean;
  readonly checks: {
    readonly worker: string;
    readonly database: string;
    readonly schema: string;
    readonly engine: string;
  };
}

const OK = 'ok';
/** A server that does not answer in this time counts as away. */
const DATABASE_MS = 2_000;
/** Reports are kept for this long, so that whoever asks all the time does not ask the database each time. */
const KEPT_MS = 1_000;
/** Engine processes that ended one after the other before they could run anything, from which on it is unable. */
const FAILED_STARTS = 3;

const STATES: Record<WorkerState, string> = {
  new: 'has not started yet',
  starting: 'is starting',
  working: OK,
  stopping: 'is stopping',
  stopped: 'has stopped',
  failed: 'has failed, see its log: start it again',
};

/**
 * Whether a worker can do its work now: it looks for jobs, the database answers and has the schema of this version,
 * and the engine is able. The engine is while no process of it runs, since the first batch starts one; it is not when
 * one process after the other ends before it has run anything.
 */
export class Readiness {
  readonly #worker: Worker;
  readonly #database: Database;
  #failedStarts = 0;
  #report: Promise<ReadinessReport> | undefined;

  constructor(worker: Worker, database: Database) {
    this.#worker = worker;
    this.#database = database;
    worker.events.on('engineLoaded', () => {
      this.#failedStarts = 0;
    });
    // What ends a process later is a model's or a row's fault, and others are served.
    worker.events.on('engineDied', ({ phase }) => {
      if (phase === 'starting') this.#failedStarts++;
    });
  }

  /** Looks, or gives what was found within the last second. */
  report(): Promise<ReadinessReport> {
    this.#report ??= this.#look().finally(() => {
      setTimeout(() => {
        this.#report = undefined;
      }, KEPT_MS).unref();
    });
    return this.#report;
  }

  async #look(): Promise<ReadinessReport> {
    const checks = {
      worker: STATES[this.#worker.state],
      ...(await this.#checkDatabase()),
      engine:
        this.#failedStarts < FAILED_STARTS
          ? OK
          : `its process ended ${this.#failedStarts} times before it could run: pgembedder doctor says more`,
    };
    return { ready: Object.values(checks).every((found) => found === OK), checks };
  }

  async #checkDatabase(): Promise<{ database: string; schema: string }> {
    try {
      const state = await withinTime(migrationState(this.#database), DATABASE_MS, 'no answer in time');
      const schema = state === 'none' ? 'is not there' : 'is of another version';
      return { database: OK, schema: state === 'current' ? OK : `${schema}: run pgembedder migrate` };
    } catch (error) {
      // Its code where it has one: the message may name hosts and users, and whoever asks needs no token.
      return {
        database: `away: ${codeOf(error) || messageOf(error)}`,
        schema: 'unknown, the database is away',
      };
    }
  }
}
