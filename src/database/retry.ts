import pRetry from 'p-retry';
import { isAway, isConflict } from './errors.ts';

/** How a query is repeated while the server is away. */
export interface RetryOptions {
  /** Ends the waiting; the last error is thrown. */
  signal?: AbortSignal;
  /** Called before each wait, with the number of attempts so far. */
  onRetry?: (error: Error, attempt: number) => void;
}

/**
 * Runs a query, and runs it again for as long as the server cannot be reached or another transaction got in the way.
 * Only for queries that may run twice. Any other error is thrown at once.
 */
export function retrying<Result>(query: () => Promise<Result>, options: RetryOptions = {}): Promise<Result> {
  return pRetry(query, {
    retries: Number.POSITIVE_INFINITY,
    minTimeout: 50,
    maxTimeout: 2_000,
    randomize: true,
    ...(options.signal ? { signal: options.signal } : {}),
    shouldRetry: ({ error }) => isAway(error) || isConflict(error),
    onFailedAttempt: ({ error, attemptNumber }) => {
      if (isAway(error)) options.onRetry?.(error, attemptNumber);
    },
  });
}
