import type { FeatureExtractionModel, LogitsModel, Pooling } from '../models/description.ts';
import type { LogitsSpec, VectorSpec } from './backend/types.ts';

/** What a pipeline may ask for other than what the model's authors chose. */
export interface SessionOptions {
  readonly pooling?: Pooling | undefined;
  readonly normalize?: boolean | undefined;
}

/** The engine's view of a model and the options of a pipeline. Pure: opens no file. */
export function sessionSpec(description: FeatureExtractionModel, options: SessionOptions = {}): VectorSpec {
  const pooling = options.pooling ?? description.pooling;
  const normalize = options.normalize ?? description.normalize;
  // A file that pools inside usually scales inside as well. Scaling once more does no harm; undoing it is impossible.
  const usePooledOutput = pooling === description.pooling && (normalize || !description.normalize);
  return {
    key: `${fileKey(description)}#${usePooledOutput ? 'own' : 'raw'}-${pooling}`,
    model: description.name,
    variant: description.variant,
    onnxPath: description.onnxPath,
    expectedSha256: description.expectedSha256,
    padTokenId: description.padTokenId,
    output: 'vector',
    pooling,
    usePooledOutput,
    normalize,
    dimensions: description.dimensions,
  };
}

/** The engine's view of a model that gives labels. No option of a pipeline changes what the session does. */
export function logitsSpec(description: LogitsModel): LogitsSpec {
  return {
    key: `${fileKey(description)}#logits`,
    model: description.name,
    variant: description.variant,
    onnxPath: description.onnxPath,
    expectedSha256: description.expectedSha256,
    padTokenId: description.padTokenId,
    output: description.task === 'token-classification' ? 'token-logits' : 'row-logits',
    labels: description.labels.length,
  };
}

/** The very file: another one may come to lie in its place while a worker runs. */
function fileKey({ onnxPath, expectedSha256 }: FeatureExtractionModel | LogitsModel): string {
  return expectedSha256 === null ? onnxPath : `${onnxPath}@${expectedSha256.slice(0, 12)}`;
}
