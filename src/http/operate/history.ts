import type { Database } from '../../database/database.ts';
import { recentRows } from '../../queue/counts.ts';

const MINUTE_MS = 60_000;
const MINUTES = 60;

/**
 * Rows that all workers have done in each of the last 60 minutes, by pipeline. It asks the database once a minute, since that
 * keeps what was done for no longer.
 */
export class History {
  readonly #database: Database;
  readonly #minutes = new Map<string, number[]>();
  readonly #timer: NodeJS.Timeout;

  constructor(database: Database) {
    this.#database = database;
    this.#timer = setInterval(() => void this.note(), MINUTE_MS).unref();
  }

  /** Of one pipeline, the newest minute last. */
  of(pipeline: string): readonly number[] {
    return this.#minutes.get(pipeline) ?? [];
  }

  /** Notes the minute that has just ended; of one in which the database was away nothing is known. */
  async note(): Promise<void> {
    const rows = await recentRows(this.#database).catch(() => []);
    const names = new Set(rows.map(({ pipeline }) => pipeline));
    for (const gone of [...this.#minutes.keys()].filter((name) => !names.has(name)))
      this.#minutes.delete(gone);
    for (const { pipeline, done } of rows) {
      this.#minutes.set(pipeline, [...this.of(pipeline), done].slice(-MINUTES));
    }
  }

  close(): void {
    clearInterval(this.#timer);
  }
}
