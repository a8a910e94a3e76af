import { appendixOf, floatOutput, type GraphPlan, noDivisor, toFloat } from './graph-appendix.ts';
import type { OnnxOutline } from './onnx-outline.ts';

/**
 * The output of a classification model that holds its logits: the one of that name, or the only one; in float32,
 * which is added where the file has another type.
 * @throws Error when there is none, or when it has another shape than the task asks for.
 */
export function planLogits({ outputs }: OnnxOutline, wanted: 'sequence-logits' | 'token-logits'): GraphPlan {
  const named = outputs.find((output) => output.name === 'logits');
  const logits = named ?? (outputs.length === 1 ? outputs[0] : undefined);
  const rank = wanted === 'token-logits' ? 3 : 2;
  if (!logits || (logits.shape && logits.shape.length !== rank)) {
    const names = outputs.map((output) => output.name).join(', ');
    const what = wanted === 'token-logits' ? 'each token' : 'each text';
    throw new Error(`none of its outputs (${names}) holds the logits of ${what}`);
  }
  const [output, nodes] = toFloat(logits, 'logits');
  const shape = logits.shape ?? new Array<null>(rank).fill(null);
  const appendix = nodes.length > 0 ? appendixOf(...nodes, floatOutput(output, shape)) : null;
  return { appendix, output, finished: true, divisor: noDivisor };
}
