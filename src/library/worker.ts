import type { Logger } from 'pino';
import type { WorkerOptions } from '../worker/options.ts';
import { createWorker as create, type Worker } from '../worker/worker.ts';
import { standardLogger } from './logger.ts';

/** What a worker of the library may be given: all but the connection can be left out. */
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
