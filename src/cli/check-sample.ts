import type { Database } from '../database/database.ts';
import { vectorText } from '../database/vector-codec.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import type { Embedder } from '../inference/embedder.ts';
import type { QueryVector } from '../inference/query-vectors.ts';
import { givesVectors, type ServedModel } from '../model-files/description.ts';
import { loadPipelines, type Pipeline } from '../pipelines/pipeline.ts';
import { type SampledResult, sampleResults } from '../pipelines/verify.ts';
import type { LabelResult } from '../tasks/results.ts';

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
  const results = await computeAgain(embedder, model, texts, pipeline);
  return results.flatMap((result, place) => {
    const kept = sample[place]!;
    const found =
      result instanceof EngineError
        ? result.message
        : 'detail' in result
          ? differentLabels(kept, result.detail)
          : differentVector(kept, result);
    return found === null ? [] : [{ rowKey: kept.row_key, chunk: kept.chunk, found }];
  });
}

async function computeAgain(
  embedder: Embedder,
  model: ServedModel,
  texts: readonly string[],
  { options, dimensions }: Pipeline,
): Promise<(QueryVector | LabelResult | EngineError)[]> {
  if (!givesVectors(model)) return embedder.labelTexts(model, texts, options);
  const prompt = options.prompt ?? model.prompts.passage;
  if (model.sparse) return embedder.embedSparse(model, texts, { prompt, topK: options.top_k });
  const { pooling, normalize } = options;
  return embedder.embedTexts(model, texts, { prompt, pooling, normalize, dimensions: dimensions! });
}

function differentVector({ result }: SampledResult, vector: QueryVector): string | null {
  const [kept, again] = [numbersOf(result), numbersOf(vectorText(vector))];
  // Of a text for which no term stands, there is nothing to compare.
  if (kept.size === 0 && again.size === 0) return null;
  const product = [...again].reduce((sum, [place, each]) => sum + each * (kept.get(place) ?? 0), 0);
  const cosine = product / (Math.hypot(...again.values()) * Math.hypot(...kept.values()));
  return cosine >= LEAST_COSINE
    ? null
    : `its vector has a cosine of ${cosine.toFixed(3)} to the one computed again`;
}

/** The numbers of a vector by their places, of pgvector's text: `[0.1,0.2]`, or `{1:0.1}/2`. */
function numbersOf(text: string): Map<number, number> {
  if (text.startsWith('['))
    return new Map((JSON.parse(text) as number[]).map((each, place) => [place + 1, each]));
  const pairs = text.slice(1, text.lastIndexOf('}')).split(',').filter(Boolean);
  return new Map(pairs.map((pair) => pair.split(':').map(Number) as [number, number]));
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
