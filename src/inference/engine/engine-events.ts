import type { BackendEvents, BatchReport } from '../backend/events.ts';
import { longestOf } from '../wire/batch-tokens.ts';
import type { SessionSpec } from '../wire/session-spec.ts';
import type { Batch } from './batch-queue.ts';
import type { EngineExit } from './engine-child.ts';

/** What an engine tells beside what every backend does. */
export interface EngineEvents extends Omit<BackendEvents, 'died'> {
  /** A process is up and begins to load its model. */
  loading: [{ pid: number | undefined; model: string }];
  /** A batch of `rows` sequences begins to run. */
  running: [{ pid: number | undefined; rows: number }];
  /** A process ended that nobody asked to end. */
  died: [EngineExit & BackendEvents['died'][0]];
  /** A session was unloaded since it was idle or others needed the memory. */
  unloaded: [{ model: string }];
}

export function reportOf(
  { calls, request, sentAt }: Batch,
  { key, model }: SessionSpec,
  runMs: number,
): BatchReport {
  const { lengths, priority } = request;
  return {
    session: key,
    model,
    priority,
    rows: lengths.length,
    tokens: lengths.reduce((sum, length) => sum + length, 0),
    paddedTokens: lengths.length * longestOf(lengths),
    waitMs: sentAt - Math.min(...calls.map(({ addedAt }) => addedAt)),
    runMs,
  };
}
