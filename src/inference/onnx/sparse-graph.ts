import type { SparsePooling } from '../../model-files/description.ts';
import {
  appendixOf,
  floatConstant,
  floatOutput,
  type GraphPlan,
  addedName as name,
  noDivisor,
  node,
  reduceMax,
  toFloat,
} from './graph-appendix.ts';
import type { OnnxOutline } from './onnx-outline.ts';
import { floatMask, tokensOnly, weightedSum } from './pooled-graph.ts';

/**
 * Plans the sparse vectors of a masked language model: [batch, sequence, vocabulary] logits become [batch, vocabulary] in the
 * graph. The activation of `max` is left to `finishSparse`: it grows with the logit, so it may come after the largest is chosen,
 * and costs a vocabulary a row then, not one a token.
 * @throws Error when the file has no output of logits for each token
 */
export function planSparse(
  { outputs, opset }: OnnxOutline,
  { pooling, activation }: SparsePooling,
): GraphPlan {
  const logits =
    outputs.find((output) => output.name === 'logits') ?? (outputs.length === 1 ? outputs[0] : undefined);
  if (!logits || (logits.shape && logits.shape.length !== 3)) {
    const names = outputs.map((output) => output.name).join(', ');
    throw new Error(
      `none of its outputs (${names}) holds a number for each token of the vocabulary, as the sparse vectors of a masked language model need it`,
    );
  }
  const [tokens, cast] = toFloat(logits, 'logits');
  const output = name('sparse');
  const nodes =
    pooling === 'max'
      ? [...tokensOnly(tokens, opset), ...reduceMax(name('tokens_only'), output, 1, opset)]
      : [
          ...activated(tokens, activation),
          floatMask(),
          ...weightedSum(name('mask'), name('activated'), opset, output),
        ];
  const size = logits.shape?.[2] ?? null;
  const shape = pooling === 'max' ? [null, size] : [null, 1, size];
  return {
    appendix: appendixOf(...cast, ...nodes, floatOutput(output, shape)),
    output,
    finished: true,
    divisor: noDivisor,
  };
}

/** ONNX has no log1p: ln(1 + x) in float32 is off by 6e-8 at most, for each token. */
function activated(tokens: string, activation: SparsePooling['activation']): Uint8Array[] {
  const times = activation === 'relu' ? 1 : 2;
  const steps = Array.from({ length: times }, (_, step) => [
    node('Add', [step === 0 ? name('relu') : name(`log_${step}`), name('one')], name(`plus_${step}`)),
    node('Log', [name(`plus_${step}`)], step + 1 === times ? name('activated') : name(`log_${step + 1}`)),
  ]);
  return [node('Relu', [tokens], name('relu')), floatConstant(name('one'), 1), ...steps.flat()];
}
