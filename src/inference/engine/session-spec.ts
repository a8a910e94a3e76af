import {
  type FeatureExtractionModel,
  givesVectors,
  type LocalModel,
  type LogitsModel,
  type ModelFiles,
  type SparsePooling,
} from '../../model-files/description.ts';
import type { SessionOptions } from '../backend/session.ts';
import type { LogitsSpec, SessionSpec, SparseSpec, VectorSpec } from '../wire/session-spec.ts';

/** The engine's view of a model. Pure: opens no file. */
export function specOf(model: LocalModel, options?: SessionOptions): SessionSpec {
  if (!givesVectors(model)) return logitsSpec(model);
  return model.sparse ? sparseSpec(model, model.sparse) : sessionSpec(model, options);
}

/** A session for a model that gives vectors, with the options of a pipeline. */
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
    steps: description.steps,
    usePooledOutput,
    normalize,
    dimensions: description.dimensions,
  };
}

/** A session for a model that gives logits. No option of a pipeline changes what it does. */
export function logitsSpec(description: LogitsModel & ModelFiles): LogitsSpec {
  return {
    key: `${fileKey(description)}#logits`,
    model: description.name,
    variant: description.variant,
    onnxPath: description.onnxPath,
    expectedSha256: description.expectedSha256,
    padTokenId: description.padTokenId,
    output: description.output,
    labels: description.labels.length,
  };
}

/** A session for a model that gives sparse vectors. No option of a pipeline changes what it does. */
function sparseSpec(description: FeatureExtractionModel, sparse: SparsePooling): SparseSpec {
  return {
    key: `${fileKey(description)}#sparse-${sparse.pooling}-${sparse.activation}`,
    model: description.name,
    variant: description.variant,
    onnxPath: description.onnxPath,
    expectedSha256: description.expectedSha256,
    padTokenId: description.padTokenId,
    output: 'sparse',
    ...sparse,
    dimensions: description.dimensions,
  };
}

/** The very file: another one may come to lie in its place while a worker runs. */
function fileKey({ onnxPath, expectedSha256 }: ModelFiles): string {
  return expectedSha256 === null ? onnxPath : `${onnxPath}@${expectedSha256.slice(0, 12)}`;
}
