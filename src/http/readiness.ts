import type { Database } from '../database/database.ts';
import { migrationState } from '../database/migrate/applied-files.ts';
import { codeOf, messageOf } from '../errors.ts';
import { withinTime } from '../within-time.ts';
import type { WorkerState } from '../worker/worker.ts';
import type { Served } from './served.ts';

/** What a worker needs for its work; each is 'ok' or says what is wrong. */
export interface ReadinessReport {
  readonly ready: boolean;
  readonly checks: {
    readonly worker: string;
    /** Where there is one. */
    readonly database?: string;
    readonly schema?: string;
    readonly engine: string;
  };
}

const OK = 'ok';
/** A server that does not answer in this time counts as away. */
const DATABASE_MS = 2_000;
/** Reports are kept for this long, so that frequent requests do not ask the database each time. */
const KEPT_MS = 1_000;
/** So many engine processes in a row that ended before they could run anything mean that the engine is unable to work. */
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
 * and the engine is able. The engine counts as able while no process of it runs, since the first batch starts one. It is
 * unable when one process after the other ends before it has run anything.
 */
export class Readiness {
  readonly #worker: Pick<Served, 'state' | 'events'>;
  readonly #database: Database | null;
  #failedStarts = 0;
  #report: Promise<ReadinessReport> | undefined;

  constructor(worker: Pick<Served, 'state' | 'events'>, database: Database | null) {
    this.#worker = worker;
    this.#database = database;
    worker.events.on('engineLoaded', () => {
      this.#failedStarts = 0;
    });
    // A process that ends later does so because of a model or a row, and others are served.
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
      ...(this.#database && (await this.#checkDatabase(this.#database))),
      engine:
        this.#failedStarts < FAILED_STARTS
          ? OK
          : `its process ended ${this.#failedStarts} times before it could run: pgembedder doctor says more`,
    };
    return { ready: Object.values(checks).every((found) => found === OK), checks };
  }

  async #checkDatabase(database: Database): Promise<{ database: string; schema: string }> {
    try {
      const state = await withinTime(migrationState(database), DATABASE_MS, 'no answer in time');
      const schema = state === 'none' ? 'is not there' : 'is of another version';
      return { database: OK, schema: state === 'current' ? OK : `${schema}: run pgembedder migrate` };
    } catch (error) {
      // The code of the error, if it has one: its message may name hosts and users, and this answer needs no token.
      return {
        database: `away: ${codeOf(error) || messageOf(error)}`,
        schema: 'unknown, the database is away',
      };
    }
  }
}
