import type { BatchReport } from '../backend/batch-report.ts';
import type { SessionSpec } from '../backend/types.ts';
import { longestOf } from '../wire/longest.ts';
import type { Batch } from './batch-queue.ts';
import type { EngineExit } from './engine-child.ts';
import type { Phase } from './runner.ts';

export interface EngineEvents {
  /** A process was started, for a model. */
  started: [{ pid: number | undefined; model: string }];
  /** It is up and begins to load the model. */
  loading: [{ pid: number | undefined; model: string }];
  /** Its model is loaded; since the start it took `loadMs`. */
  loaded: [{ pid: number | undefined; model: string; loadMs: number }];
  /** A batch of `rows` rows begins to run. */
  running: [{ pid: number | undefined; rows: number }];
  /** A batch was run. */
  batch: [BatchReport];
  /** A process ended that nobody asked to end. */
  died: [EngineExit & { readonly model: string; readonly phase: Phase }];
  /** A session was unloaded since it was idle or others needed the memory. */
  unloaded: [{ model: string }];
}

export function reportOf(
  { calls, request, sentAt }: Batch,
  { key, model }: SessionSpec,
  runMs: number,
): BatchReport {
  const { lengths, rank } = request;
  return {
    session: key,
    model,
    rank,
    rows: lengths.length,
    tokens: lengths.reduce((sum, length) => sum + length, 0),
    paddedTokens: lengths.length * longestOf(lengths),
    waitMs: sentAt - Math.min(...calls.map(({ addedAt }) => addedAt)),
    runMs,
    budget: calls.length === 1 ? calls[0]!.budget : null,
  };
}
