import { EngineError } from '../backend/engine-error.ts';
import type { RowResult, VectorSpec } from '../backend/types.ts';
import { finishVectors } from './finish-vectors.ts';

/**
 * The first numbers of a session's vectors, for models that were trained so that these stand for the whole (Matryoshka
 * representations, Kusupati et al. 2022), scaled to length 1 where the session scales. That the whole was scaled before
 * makes no difference: the direction of the part is the same.
 * @returns what cuts a result; one that is an error, or short enough, stays as it is
 */
export function vectorCutter(
  session: VectorSpec,
  dimensions = session.dimensions,
): (result: RowResult) => RowResult {
  if (dimensions >= session.dimensions) return (result) => result;
  return (result) => {
    if (result instanceof EngineError) return result;
    const part = result.slice(0, dimensions);
    const { notFinite } = finishVectors(part, Int32Array.of(1), {
      normalize: session.normalize,
      divisor: () => 1,
    });
    if (notFinite.length === 0) return part;
    return new EngineError('not-finite', `The first ${dimensions} numbers of the row's vector are zero`, {
      hint: 'Keep more dimensions or choose another model',
    });
  };
}
