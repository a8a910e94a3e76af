import { EventEmitter } from 'node:events';
import { setTimeout as delay } from 'node:timers/promises';
import type { BackendEvents, BatchReport, Phase } from '../inference/backend/events.ts';
import type { TokenizedReport } from '../inference/text-embedder.ts';

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
 * What a worker tells. Tests wait for these events instead of sleeping; the command line and the metrics listen to them.
 * An event to which nobody listens costs nothing.
 */
export class WorkerEvents extends EventEmitter<{
  /** It is on the register and looks for jobs; `listening` is false where it has to poll. */
  started: [{ workerId: number; listening: boolean }];
  /** Pipelines were read from the database; names of those it serves. */
  pipelines: [names: string[]];
  /** Whether notifications arrive: told at the start, and when the connection for them breaks or is there again. */
  listening: [listening: boolean];
  /** Jobs were claimed, which took `ms`: rows of a backfill, or jobs that were due. */
  claimed: [rows: number, claim: { ms: number; backfill: boolean }];
  /** The texts of rows of one pipeline were read. */
  fetched: [{ pipeline: string; rows: number; ms: number }];
  /** Texts were tokenized. */
  tokenized: [TokenizedReport];
  /** The engine has run a batch, for the queue or for requests. */
  batch: [BatchReport];
  /** Results of one pipeline were committed, by a statement that took `ms`. */
  completed: [{ pipeline: string; embedded: number; emptied: number; ms: number }];
  /** Results of one pipeline were thrown away: their rows had changed, or another worker had done them. */
  superseded: [{ pipeline: string; rows: number }];
  /** Leases ended while this worker still held the jobs, since it could not renew them in time: others may do them too. */
  leasesLost: [rows: number];
  /** Attempts for one pipeline failed; `reasons` counts them by an engine error's kind, a SQLSTATE, or 'other'. */
  failed: [{ pipeline: string; dead: number; retried: number; reasons: Record<string, number> }];
  /** A pipeline as a whole does not work, or works again (null). */
  pipelineError: [{ pipeline: string; error: string | null }];
  /** It stops. The engine ends when all that a listener gives to `waitFor` has come to its end, or the time is over. */
  stopping: [waitFor: (ended: Promise<unknown>) => void];
  /** The queue is empty and the worker sleeps. */
  idle: [];
  /** It has been idle for so long that it says nothing to the server, for so many seconds at most. */
  quiet: [seconds: number];
  /** The index of a pipeline was built. */
  indexed: [{ pipeline: string }];
  /** Jobs of dead workers were freed. */
  rescued: [rows: number];
  /** It was taken for dead itself, since its heartbeat had not arrived, and has registered again. */
  registeredAnew: [];
  /** An engine process was started; has loaded its model; has ended without being asked to. */
  engineStarted: [];
  engineLoaded: [];
  /** A request was sent to an endpoint; it has counted tokens; it takes nothing for a while. */
  endpointRequest: BackendEvents['request'];
  endpointTokens: BackendEvents['counted'];
  endpointWait: BackendEvents['wait'];
  engineDied: [{ signal: string | null; code: number | null; phase: Phase }];
}> {
  /** Tells that it stops. Resolves when what listeners wait for has come to its end, or after so long. */
  async tellStopping(limitMs: number): Promise<void> {
    const asked: Promise<unknown>[] = [];
    this.emit('stopping', (ended) => asked.push(ended));
    await Promise.race([Promise.allSettled(asked), delay(limitMs, null, { ref: false })]);
  }
}
