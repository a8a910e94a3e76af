import type { SparseVector } from '../../sparse-vector.ts';

/**
 * A sparse vector of what the engine gives for it.
 * @param pairs place and number, one after the other, by place
 * @param topK how many numbers are kept, the largest ones; of like ones those that come first
 */
export function sparseVector(pairs: Float32Array, dimensions: number, topK = dimensions): SparseVector {
  let places = Array.from({ length: pairs.length / 2 }, (_, place) => 2 * place);
  if (places.length > topK) {
    places = places
      .sort((a, b) => pairs[b + 1]! - pairs[a + 1]! || a - b)
      .slice(0, topK)
      .sort((a, b) => a - b);
  }
  return {
    dimensions,
    indices: Int32Array.from(places, (place) => pairs[place]!),
    values: Float32Array.from(places, (place) => pairs[place + 1]!),
  };
}
