import type pg from 'pg';
import { type Connection, type Database, openDatabase } from '../database/database.ts';
import { settleClient, settlePool } from '../database/sessions.ts';

/** A statement on the queue takes milliseconds, and seconds on a busy machine; without an answer after this the server is away. */
const ANSWER_MS = 20_000;
/** A heartbeat without an answer is tried on another connection after this, before peers take the worker for dead. */
const BEAT_ANSWER_MS = 5_000;
/** The longest that a statement on the tables of a pipeline may take; it runs filters and triggers of the owner. */
export const PIPELINE_STATEMENT_MS = 60_000;

/**
 * The connections of a worker, by what they are for. So the heartbeat does not wait for the queue, the queue does not wait
 * for the tables of a pipeline, and these do not wait for an index that takes hours.
 */
export class Pools {
  readonly heart: Database;
  readonly queue: Database;
  readonly tables: Database;
  readonly chores: Database;
  /** Whether each connection is a session of its own, in which settings stay; behind a pooler it may not be. */
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

  /** From now on sessions get PostgreSQL's own settings. To be called while only the heart has a connection. */
  async own(): Promise<void> {
    this.#own = true;
    await settlePool(this.heart);
  }

  async close(): Promise<void> {
    await Promise.all([this.heart, this.queue, this.tables, this.chores].map((pool) => pool.destroy()));
  }
}
