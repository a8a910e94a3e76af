import type { Logger } from 'pino';
import type { Database } from '../database/database.ts';
import { type RetryOptions, retrying } from '../database/retry.ts';
import type { Backoff, Claimant } from '../queue/jobs.ts';
import type { WorkerEvents } from './events.ts';

/** What the parts of a worker share. */
export interface WorkerContext {
  readonly database: Database;
  readonly vectorOid: number;
  readonly logger: Logger;
  readonly events: WorkerEvents;
  readonly backoff: Backoff;
  /** This worker's number and lease; the number changes when it has to register anew. */
  claimant: Claimant;
  /** Ends waits for a server that is away. */
  readonly signal: AbortSignal;
}

/** Runs a query that may run twice; waits while the server is away, saying so once. */
export function persist<Result>(context: WorkerContext, query: () => Promise<Result>): Promise<Result> {
  const options: RetryOptions = {
    signal: context.signal,
    onRetry: (error, attempt) => {
      if (attempt === 1) context.logger.warn({ reason: error.message }, 'database is away, waiting for it');
    },
  };
  return retrying(query, options);
}
