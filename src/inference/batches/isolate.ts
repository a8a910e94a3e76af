import { EngineError } from '../backend/engine-error.ts';
import {
  type CallOptions,
  idsOf,
  type RowResult,
  type Sequence,
  type SessionSpec,
} from '../backend/types.ts';
import type { Engine } from '../engine/engine.ts';

/** How rows are to be run, and who is told what came of it. */
export interface IsolateOptions extends CallOptions {
  /** Called when a batch of so many tokens (rows x longest row) found too little memory. */
  onMemory?(tokens: number): void;
}

/**
 * Runs a batch so that one bad row does not cost its neighbours their results: a batch that fails is halved until the
 * row stands alone.
 *
 * @returns for each row its numbers, or the EngineError that it alone caused (`run`, `died`, `timeout`, `memory`, `not-finite`)
 * Rejects with an EngineError that concerns every row alike (`load`, `start`, `stopped`, `busy`).
 */
export async function runIsolated(
  engine: Engine,
  session: SessionSpec,
  sequences: readonly Sequence[],
  options: IsolateOptions = {},
): Promise<RowResult[]> {
  try {
    const results = await engine.run(session, sequences, options);
    return sequences.length === 1 ? results : await retryAlone(results);
  } catch (error) {
    if (!(error instanceof EngineError && error.blamesBatch)) {
      throw error;
    }
    if (error.wantsMemory) {
      options.onMemory?.(sequences.length * Math.max(...sequences.map((sequence) => idsOf(sequence).length)));
    }
    if (sequences.length === 1) {
      return [error];
    }
    // Both halves at once: the good one gets its vectors while the process comes up again for the other.
    const middle = sequences.length >> 1;
    const halves = [sequences.slice(0, middle), sequences.slice(middle)];
    return (
      await Promise.all(halves.map((half) => runIsolated(engine, session, half, { ...options, alone: true })))
    ).flat();
  }

  /**
   * An int8 model scales its activations by the largest of the run, so one row with NaN spoils the others as well.
   * Alone, each shows what it is.
   */
  function retryAlone(results: RowResult[]): Promise<RowResult[]> {
    return Promise.all(
      results.map(async (result, row) =>
        result instanceof EngineError
          ? (await runIsolated(engine, session, [sequences[row]!], { ...options, alone: true }))[0]!
          : result,
      ),
    );
  }
}
