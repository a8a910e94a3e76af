import { EngineError } from '../backend/engine-error.ts';
import type { SequenceResult } from '../backend/run.ts';
import { finishVectors } from './finish-vectors.ts';

/**
 * The first numbers of vectors, for models that were trained so that these stand for the whole (Matryoshka
 * representations, Kusupati et al. 2022), scaled to length 1 if the whole was. That it was scaled before makes no
 * difference: the direction of the part is the same.
 * @returns what cuts a result; one that is an error, or short enough, stays as it is
 */
export function vectorCutter(
  given: { readonly dimensions: number; readonly normalize: boolean },
  wanted = given.dimensions,
): (result: SequenceResult) => SequenceResult {
  if (wanted >= given.dimensions) return (result) => result;
  return (result) => {
    if (result instanceof EngineError) return result;
    const part = result.slice(0, wanted);
    const { notFinite } = finishVectors(part, Int32Array.of(1), {
      normalize: given.normalize,
      divisor: () => 1,
    });
    if (notFinite.length === 0) return part;
    return new EngineError('not-finite', `The first ${wanted} numbers of the row's vector are zero`, {
      hint: 'Keep more dimensions or choose another model',
    });
  };
}
