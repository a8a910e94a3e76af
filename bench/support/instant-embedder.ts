import type { TextEmbedder } from '../../src/inference/embedder.ts';

/** Stands in for the engine: gives every text the same vector, at once. */
export const instantEmbedder: TextEmbedder = {
  labelTexts: () => Promise.reject(new Error('no part of the benchmarks')),
  async embedTexts({ dimensions }, texts, { onBatch } = {}) {
    const vector = new Float32Array(dimensions).fill(dimensions ** -0.5);
    const results = texts.map(() => vector);
    onBatch?.(
      texts.map((_, place) => place),
      results,
    );
    return results;
  },
  tokenizer({ maxTokens }) {
    return { maxTokens, encode: () => new Int32Array(2), count: () => 0 };
  },
};
