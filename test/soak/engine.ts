import { setTimeout as wait } from 'node:timers/promises';
import { EngineError } from '../../src/inference/backend/engine-error.ts';
import type { SequenceResult } from '../../src/inference/backend/run.ts';
import { vectorOf } from './vector.ts';

/** Gives the results of texts; `tell` hands over those that are done before the rest. */
type Call = (results: SequenceResult[], tell: (part: number) => void) => Promise<SequenceResult[]>;

/** One text of the call has an error instead of a vector. */
const spoilOne: (error: EngineError) => Call = (error) => async (results, tell) => {
  results[Math.floor(Math.random() * results.length)] = error;
  tell(results.length);
  return results;
};
/** Half of the texts are done, then nothing more comes. */
const endHalfway: (error: EngineError) => Call = (error) => async (results, tell) => {
  tell(Math.floor(results.length / 2));
  throw error;
};

/** What goes wrong in an engine, with how often it does in a thousand calls. */
export const engineFaults: Readonly<Record<string, readonly [perThousand: number, Call]>> = {
  'the engine gives no finite numbers for a text': [
    5,
    spoilOne(new EngineError('not-finite', 'NaN, by the simulation')),
  ],
  'the engine process dies of a text': [5, spoilOne(new EngineError('died', 'dead, by the simulation'))],
  'the engine is stopped halfway': [10, endHalfway(new EngineError('stopped', 'stopped, by the simulation'))],
  'the engine is slow': [
    10,
    async (results, tell) => {
      tell(Math.floor(results.length / 2));
      await wait(1_000 + 4_000 * Math.random());
      return results;
    },
  ],
};

/** A vector for each text; a faulty engine fails now and then, and says so. */
export async function embed(
  texts: readonly string[],
  onBatch: ((done: { place: number; result: SequenceResult }[]) => void) | undefined,
  onFault: ((kind: string) => void) | undefined,
): Promise<SequenceResult[]> {
  const results: SequenceResult[] = texts.map(vectorOf);
  let told = 0;
  const tell = (until: number) => {
    onBatch?.(results.slice(told, until).map((result, i) => ({ place: told + i, result })));
    told = until;
  };
  // Long enough for a row to change under it.
  await wait(20 * Math.random());
  let draw = 1_000 * Math.random();
  for (const [kind, [perThousand, call]] of onFault ? Object.entries(engineFaults) : []) {
    draw -= perThousand;
    if (draw >= 0) continue;
    onFault!(kind);
    await call(results, tell);
    break;
  }
  tell(results.length);
  return results;
}
