import type pg from 'pg';
import { type Connection, type Database, openDatabase } from '../database/database.ts';
import { settleClient, settlePool } from '../database/sessions.ts';

/** A statement of the worker's own on the queue is a matter of milliseconds, and of seconds on a busy machine. */
const ANSWER_MS = 20_000;
/** A heartbeat that has no answer is tried on another connection, before peers take the worker for dead. */
const BEAT_ANSWER_MS = 5_000;
/** A statement on the tables of a pipeline, where filters and triggers of its owner's run, may take so long. */
export const PIPELINE_STATEMENT_MS = 60_000;

/**
 * The connections of a worker, by what they are for, so that nothing waits behind what may take long: the heartbeat behind
 * the queue, the queue behind the tables of a pipeline, and these behind an index that takes hours.
 */
export class Pools {
  readonly heart: Database;
  readonly queue: Database;
  readonly tables: Database;
  readonly chores: Database;
  /** Whether a connection is a session of this worker's own, in which settings stay; a pooler's is not. */
  #own = false;

  constructor(connection: Connection) {
    const settle = (statementMs?: number) => ({
      prepare: async (client: pg.ClientBase) => {
        if (this.#own) await settleClient(client, statementMs);
      },
    });
    this.heart = openDatabase(connection, 1, { answerMs: BEAT_ANSWER_MS, ...settle() });
    this.queue = openDatabase(connection, 4, { answerMs: ANSWER_MS, ...settle() });
    this.tables = openDatabase(connection, 5, {
      answerMs: 1.25 * PIPELINE_STATEMENT_MS,
      ...settle(PIPELINE_STATEMENT_MS),
    });
    this.chores = openDatabase(connection, 5, settle());
  }

  /** Sessions are this worker's own: they get PostgreSQL's own settings. To be called while only the heart has any. */
  async own(): Promise<void> {
    this.#own = true;
    await settlePool(this.heart);
  }

  async close(): Promise<void> {
    await Promise.all([this.heart, this.queue, this.tables, this.chores].map((pool) => pool.destroy()));
  }
}
