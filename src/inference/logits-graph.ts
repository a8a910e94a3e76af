import type { OnnxOutline } from './onnx-outline.ts';
import type { PooledGraph } from './pooled-graph.ts';
import type { LogitsSpec } from './types.ts';

/**
 * The output of a classification model that holds its logits: the one of that name, or the only one. Nothing is
 * added to the file. Raises Error when there is none, or when it has another shape than the task asks for.
 */
export function logitsGraph({ outputs }: OnnxOutline, wanted: LogitsSpec['output']): PooledGraph {
  const named = outputs.find((output) => output.name === 'logits');
  const logits = named ?? (outputs.length === 1 ? outputs[0] : undefined);
  const rank = wanted === 'token-logits' ? 3 : 2;
  if (!logits || (logits.shape && logits.shape.length !== rank)) {
    const names = outputs.map((output) => output.name).join(', ');
    const what = wanted === 'token-logits' ? 'each token' : 'each text';
    throw new Error(`none of its outputs (${names}) holds the logits of ${what}`);
  }
  return { appendix: null, output: logits.name, isSum: false };
}
