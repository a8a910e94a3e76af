import type { Worker } from '../worker/worker.ts';

/** What is served: a worker, or models alone. */
export type Served = Pick<Worker, 'state' | 'events' | 'sessions' | 'embedder'>;
