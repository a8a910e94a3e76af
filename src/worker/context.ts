import type { Logger } from 'pino';
import type { Database } from '../database/database.ts';
import { type RetryOptions, retrying } from '../database/retry.ts';
import type { Backoff, Claimant } from '../queue/jobs.ts';
import type { WorkerEvents } from './events.ts';
import type { Lanes } from './lanes.ts';

/** What the parts of a worker share. */
export interface WorkerContext {
  /** For the worker's own statements, on the queue and the register. */
  readonly database: Database;
  /** For the heartbeat alone. */
  readonly heart: Database;
  /** For statements on the tables of pipelines, through `lanes`. */
  readonly tables: Database;
  readonly lanes: Lanes;
  /** For what may take hours: indexes, changed tables, counts. */
  readonly chores: Database;
  readonly vectorOid: number;
  /** Triggers send no NOTIFY: it would keep a user's transaction from being prepared (two-phase commit). */
  readonly silentWriters: boolean;
  readonly logger: Logger;
  readonly events: WorkerEvents;
  readonly backoff: Backoff;
  /** This worker's number and lease; the number changes when it has to register again. */
  claimant: Claimant;
  /** Ends waits for a server that is away. */
  readonly signal: AbortSignal;
}

/** Runs a query that may run twice; waits while the server is away, saying so once. */
export function persist<Result>(context: WorkerContext, query: () => Promise<Result>): Promise<Result> {
  return retrying(query, { signal: context.signal, onRetry: sayAway(context.logger) });
}

/** Says once that the server is away. */
export function sayAway(logger: Logger): NonNullable<RetryOptions['onRetry']> {
  return (error, attempt) => {
    if (attempt === 1) logger.warn({ reason: error.message }, 'database is away, waiting for it');
  };
}
