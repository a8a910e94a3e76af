import { EventEmitter } from 'node:events';

/** What a worker did since it started. Rows are counted once for each time they were worked on. */
export interface WorkerStats {
  /** Rows whose vector was written. */
  embedded: number;
  /** Rows without text, or gone: their target was emptied. */
  emptied: number;
  /** Rows that changed while they were worked on: what came out was thrown away, and they are due again. */
  superseded: number;
  /** Failed attempts that will be tried again. */
  retried: number;
  /** Rows that became dead letters. */
  dead: number;
}

/**
 * What a worker tells: tests wait for these instead of sleeping, and the command line and metrics listen to them.
 * A signal to which nobody listens costs nothing.
 */
export class WorkerEvents extends EventEmitter<{
  /** It is on the register and looks for jobs; `listening` is false where it has to poll. */
  started: [{ workerId: number; listening: boolean }];
  /** Pipelines were read from the database; names of those it serves. */
  pipelines: [names: string[]];
  /** Jobs were claimed. */
  claimed: [rows: number];
  /** Results of one pipeline were committed. */
  completed: [{ pipeline: string; embedded: number; emptied: number }];
  /** Attempts failed, of one pipeline. */
  failed: [{ pipeline: string; dead: number; retried: number }];
  /** A pipeline as a whole does not work, or works again (null). */
  pipelineError: [{ pipeline: string; error: string | null }];
  /** The queue is empty and the worker sleeps. */
  idle: [];
  /** The index of a pipeline was built. */
  indexed: [{ pipeline: string }];
  /** Jobs of dead workers were freed. */
  rescued: [rows: number];
}> {}
