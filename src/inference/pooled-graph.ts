import type { Pooling } from '../models/description.ts';
import {
  appendixOf,
  floatOutput,
  type GraphPlan,
  intAttribute,
  addedName as name,
  node,
  scalarConstant,
  toFloat,
  unsqueeze,
} from './graph-appendix.ts';
import { type GraphValue, type OnnxOutline, onnx } from './onnx-outline.ts';

/** The output that is added: [batch, 1, dim] for the masked sum, [batch, dim] for CLS; float32 in both cases. */
export const pooledOutput = name('pooled');

/**
 * Plans the pooling of a model.
 *
 * It is added to the graph (see `appendixOf`), so that only [batch, dim] numbers leave the session instead of
 * [batch, sequence, dim].
 *
 * `usePooledOutput` allows the file's own [batch, dim] output to be taken. Raises Error when the file has no output
 * of the kind that is needed.
 */
export function planPooling(outline: OnnxOutline, pooling: Pooling, usePooledOutput: boolean): GraphPlan {
  const sentence = usePooledOutput ? sentenceOutput(outline) : undefined;
  if (sentence) {
    return { appendix: null, output: sentence.name, isSum: false };
  }
  const tokens = tokenOutput(outline);
  if (!tokens) {
    const names = outline.outputs.map((output) => output.name).join(', ');
    throw new Error(
      usePooledOutput
        ? `none of its outputs (${names}) is one vector per token or per text`
        : `it gives finished vectors only (${names}), so its pooling and normalization cannot be changed`,
    );
  }
  const nodes = pooling === 'cls' ? firstToken(tokens) : maskedSum(tokens, outline.opset);
  const dimension = tokens.shape?.[2] ?? null;
  const shape = pooling === 'mean' ? [null, 1, dimension] : [null, dimension];
  const appendix = appendixOf(...nodes, floatOutput(pooledOutput, shape));
  return { appendix, output: pooledOutput, isSum: pooling === 'mean' };
}

/**
 * The output that is the finished vector: sentence-transformers' name for it, or the only output when it is
 * [batch, dim]. Not any output of that shape: BERT's `pooler_output` has it too and is something else.
 */
function sentenceOutput({ outputs }: OnnxOutline): GraphValue | undefined {
  const named = outputs.find((output) => output.name === 'sentence_embedding');
  return named ?? (outputs.length === 1 && outputs[0]?.shape?.length === 2 ? outputs[0] : undefined);
}

/** The output [batch, sequence, dim]: by its usual names, else the first of that shape. */
function tokenOutput({ outputs }: OnnxOutline): GraphValue | undefined {
  const usual = ['last_hidden_state', 'token_embeddings'];
  return (
    outputs.find((output) => usual.includes(output.name)) ??
    outputs.find((output) => output.shape?.length === 3)
  );
}

/** [batch, 1, sequence] mask times [batch, sequence, dim] vectors: their sum where the mask is 1. */
function maskedSum(tokens: GraphValue, opset: number): Uint8Array[] {
  const [vectors, cast] = toFloat(tokens, 'vectors');
  return [
    ...cast,
    node('Cast', ['attention_mask'], name('mask'), intAttribute('to', onnx.element.float)),
    ...unsqueeze(name('mask'), name('mask_row'), 1, opset),
    node('MatMul', [name('mask_row'), vectors], pooledOutput),
  ];
}

/** The vector of the first token of each row. */
function firstToken(tokens: GraphValue): Uint8Array[] {
  const [vectors, cast] = toFloat(tokens, 'vectors');
  return [
    ...cast,
    scalarConstant(name('first'), 0),
    node('Gather', [vectors, name('first')], pooledOutput, intAttribute('axis', 1)),
  ];
}
