import type { Database } from '../database/database.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import type { Embedder } from '../inference/embedder.ts';
import { givesVectors } from '../model-files/description.ts';
import { loadPipelines } from '../pipelines/pipeline.ts';
import { type SampledResult, sampleResults } from '../pipelines/verify.ts';

/** A result that is another one when it is computed again. */
export interface Difference {
  readonly rowKey: string;
  readonly chunk: number;
  readonly found: string;
}

const SAMPLE = 100;
/**
 * The least cosine of a vector that is the same: int8 models scale by what else is in a batch, and machines round differently
 * (docs/engine.md). Vectors of two texts are rarely as near.
 */
const LEAST_COSINE = 0.95;

/** Computes results of a pipeline again, at random, and compares. @throws UserError when its model is not here, or rows may not be read */
export async function compareSample(
  database: Database,
  embedder: Embedder,
  name: string,
): Promise<Difference[]> {
  const pipeline = (await loadPipelines(database)).find((each) => each.name === name && each.live);
  if (!pipeline) return [];
  const model = embedder.find(pipeline.model, pipeline.task);
  const sample = await sampleResults(database, name, SAMPLE);
  const texts = sample.map(({ input }) => input);
  const results = givesVectors(model)
    ? await embedder.embedTexts(model, texts, {
        pooling: pipeline.options.pooling,
        normalize: pipeline.options.normalize,
        dimensions: pipeline.dimensions!,
        prompt: pipeline.options.prompt ?? model.prompts.passage,
      })
    : await embedder.labelTexts(model, texts, pipeline.options);
  return results.flatMap((result, place) => {
    const kept = sample[place]!;
    const found =
      result instanceof EngineError
        ? result.message
        : result instanceof Float32Array
          ? differentVector(kept, result)
          : differentLabels(kept, result.detail);
    return found === null ? [] : [{ rowKey: kept.row_key, chunk: kept.chunk, found }];
  });
}

function differentVector({ result }: SampledResult, vector: Float32Array): string | null {
  const kept = JSON.parse(result) as number[];
  const product = vector.reduce((sum, each, place) => sum + each * (kept[place] ?? 0), 0);
  const cosine = product / (Math.hypot(...vector) * Math.hypot(...kept));
  return cosine >= LEAST_COSINE
    ? null
    : `its vector has a cosine of ${cosine.toFixed(3)} to the one computed again`;
}

function differentLabels({ result }: SampledResult, detail: object): string | null {
  const [kept, again] = [bestOf(JSON.parse(result) as object), bestOf(detail)];
  return kept === again ? null : `it has ${kept}, and computed again ${again}`;
}

/** The best label, or the labels of the parts. */
function bestOf(detail: object): string {
  if (Array.isArray(detail))
    return (
      detail.map((part) => `${part.entity_group ?? part.entity} ${part.start}`).join(', ') || 'no entities'
    );
  return Object.entries(detail).sort(([, a], [, b]) => b - a)[0]?.[0] ?? 'no label';
}
