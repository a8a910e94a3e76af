import type { Backend } from '../backend/backend.ts';
import { EngineError } from '../backend/engine-error.ts';
import type { CallOptions, SequenceResult } from '../backend/run.ts';
import type { BackendSession } from '../backend/session.ts';

/** How sequences are to be run, and who is told what came of it. */
export interface IsolateOptions extends CallOptions {
  /** Called when a batch of so many tokens (sequences x longest) found too little memory. */
  onMemory?(tokens: number): void;
}

/**
 * Runs a batch so that one bad sequence does not cost its neighbours their results: a batch that fails is halved until it
 * stands alone.
 *
 * @returns for each sequence its numbers, or the EngineError that it alone caused (`run`, `died`, `timeout`, `memory`,
 *   `not-finite`)
 * @throws EngineError that concerns every sequence alike (`load`, `start`, `stopped`, `busy`, `later`)
 */
export async function runIsolated<Session extends BackendSession>(
  backend: Backend,
  session: Session,
  sequences: readonly object[],
  options: IsolateOptions = {},
): Promise<SequenceResult[]> {
  try {
    const results = await backend.run(session, sequences, options);
    return sequences.length === 1 ? results : await retryAlone(results);
  } catch (error) {
    if (!(error instanceof EngineError && error.blamesBatch)) {
      throw error;
    }
    if (error.wantsMemory) {
      const longest = Math.max(...sequences.map((sequence) => backend.tokensOf(sequence)));
      options.onMemory?.(sequences.length * longest);
    }
    if (sequences.length === 1) {
      return [error];
    }
    // Both halves at once: the good one gets its vectors while the process comes up again for the other.
    const middle = sequences.length >> 1;
    const halves = [sequences.slice(0, middle), sequences.slice(middle)];
    const alone = { ...options, alone: true };
    return (await Promise.all(halves.map((half) => runIsolated(backend, session, half, alone)))).flat();
  }

  /**
   * An int8 model scales its activations by the largest of the run, so one sequence with NaN spoils the others as well.
   * Alone, each shows what it is.
   */
  function retryAlone(results: SequenceResult[]): Promise<SequenceResult[]> {
    return Promise.all(
      results.map(async (result, place) =>
        result instanceof EngineError
          ? (await runIsolated(backend, session, [sequences[place]!], { ...options, alone: true }))[0]!
          : result,
      ),
    );
  }
}
