import { describe, expect, it } from 'vitest';
import { Embedder } from '../../../src/inference/embedder.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { cosine, extraModels, goldenRows, hasExtraModels, hasVnni } from '../../unit/inference/golden.ts';
import { startEngine } from './support.ts';

/**
 * Cosines to the reference's vectors, of all rows that are not blank, in batches as the worker makes them.
 *
 * The int8 models scale their activations by the largest of a run, so a vector depends a little on its neighbours.
 */
async function cosines(model: string, golden: 'minilm' | 'bge-small') {
  const { engine } = startEngine();
  const embedder = new Embedder({ engine });
  const description = createModelStore({ directories: [extraModels] }).find(model, 'feature-extraction');
  const rows = goldenRows(golden).filter((row) => row.text.trim() !== '');
  const embed = async (texts: string[]) => {
    const results = await embedder.embedTexts(description, texts);
    return results.map((result) => {
      if (result instanceof Error) {
        throw result;
      }
      return result;
    });
  };
  const together = await embed(rows.map((row) => row.text));
  const alone: Float32Array[] = [];
  for (const row of rows) {
    alone.push(...(await embed([row.text])));
  }
  const all = rows.map((row, index) => cosine(together[index]!, row.vector));
  return {
    worst: Math.min(...all),
    mean: all.reduce((sum, each) => sum + each, 0) / all.length,
    worstAlone: Math.min(...rows.map((row, index) => cosine(alone[index]!, row.vector))),
    aloneOrTogether: Math.min(...alone.map((vector, index) => cosine(vector, together[index]!))),
    lengths: [...together, ...alone].map((vector) => Math.hypot(...vector)),
    dimensions: new Set([...together, ...alone].map((vector) => vector.length)),
  };
}

describe('vectors beside the reference', () => {
  it('of the bundled model', async () => {
    const result = await cosines('all-MiniLM-L6-v2', 'minilm');
    expect(result.worst).toBeGreaterThanOrEqual(0.99);
    expect(result.mean).toBeGreaterThanOrEqual(0.997);
    expect(result.worstAlone).toBeGreaterThanOrEqual(0.99);
    expect(result.aloneOrTogether).toBeGreaterThanOrEqual(0.99);
    expect(result.dimensions).toEqual(new Set([384]));
    for (const length of result.lengths) {
      expect(length).toBeCloseTo(1, 5);
    }
  });

  it.skipIf(!hasExtraModels)("of the hub's file, with mean pooling added", async () => {
    const result = await cosines('Xenova/all-MiniLM-L6-v2', 'minilm');
    expect(result.worst).toBeGreaterThanOrEqual(0.97);
    expect(result.mean).toBeGreaterThanOrEqual(0.99);
  });

  it.skipIf(!hasExtraModels)('of bge-small, with CLS pooling added', async () => {
    // Its reference ran the same int8 file, one text a run.
    const result = await cosines('Xenova/bge-small-en-v1.5', 'bge-small');
    expect(result.worstAlone).toBeGreaterThanOrEqual(hasVnni ? 0.9999 : 0.999);
    expect(result.worst).toBeGreaterThanOrEqual(0.99);
  });
});
