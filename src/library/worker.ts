import type { Logger } from 'pino';
import type { WorkerOptions } from '../worker/options.ts';
import { createWorker as create, type Worker } from '../worker/worker.ts';
import { standardLogger } from './logger.ts';

/** Settings of a worker; only the connection must be given. */
export type LibraryWorkerOptions = Omit<WorkerOptions, 'logger'> & {
  /** A pino logger. Default: what is wrong, on stderr. */
  readonly logger?: Logger;
};

/**
 * Makes a worker: it claims jobs, embeds their rows and writes the vectors.
 *
 * @example
 * const worker = createWorker({ connection: process.env.DATABASE_URL! });
 * await worker.start();
 * process.once('SIGTERM', () => worker.stop());
 */
export function createWorker(options: LibraryWorkerOptions): Worker {
  return create({ ...options, logger: options.logger ?? standardLogger() });
}
