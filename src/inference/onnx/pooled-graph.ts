import type { Pooling } from '../../model-files/description.ts';
import {
  appendixOf,
  floatConstant,
  floatOutput,
  type GraphPlan,
  intAttribute,
  addedName as name,
  noDivisor,
  node,
  reduceMax,
  scalarConstant,
  toFloat,
  unsqueeze,
} from './graph-appendix.ts';
import { type GraphValue, type OnnxOutline, onnx } from './onnx-outline.ts';

/** The output that is added: [batch, 1, dim] for a sum over the tokens, else [batch, dim]; float32 in both cases. */
export const pooledOutput = name('pooled');

/**
 * Plans the pooling of a model.
 *
 * It is added to the graph (see `appendixOf`), so that only [batch, dim] numbers leave the session instead of
 * [batch, sequence, dim].
 *
 * `usePooledOutput` allows the file's own [batch, dim] output to be taken; `hasSteps`: the model has modules behind its pooling, so that
 * such an output is its end only if its name says so. @throws Error when the file has no output of the kind that is needed.
 */
export function planPooling(
  outline: OnnxOutline,
  pooling: Pooling,
  usePooledOutput: boolean,
  hasSteps = false,
): GraphPlan {
  const sentence = usePooledOutput ? sentenceOutput(outline, hasSteps) : undefined;
  if (sentence) {
    const [output, nodes] = toFloat(sentence, 'sentence');
    const appendix =
      nodes.length > 0 ? appendixOf(...nodes, floatOutput(output, sentence.shape ?? [null, null])) : null;
    return { appendix, output, finished: true, divisor: noDivisor };
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
  const method = methods[pooling];
  if (outline.opset < (method.opset ?? 0)) {
    throw new Error(`${pooling} pooling needs operator set ${method.opset}, and it has ${outline.opset}`);
  }
  const dimension = tokens.shape?.[2] ?? null;
  const shape = method.isSum ? [null, 1, dimension] : [null, dimension];
  const [vectors, cast] = toFloat(tokens, 'vectors');
  const nodes = [...cast, ...method.nodes(vectors, outline.opset)];
  const appendix = appendixOf(...nodes, floatOutput(pooledOutput, shape));
  return { appendix, output: pooledOutput, finished: false, divisor: method.divisor ?? noDivisor };
}

/** How a pooling is done. */
interface Method {
  /** Nodes that make `pooledOutput` of the token vectors of this name: [batch, sequence, dim], float32. */
  nodes(vectors: string, opset: number): Uint8Array[];
  /** Whether the output is a weighted sum over the tokens, [batch, 1, dim], else [batch, dim]. */
  readonly isSum: boolean;
  readonly divisor?: GraphPlan['divisor'];
  /** The first operator set that has the nodes. CumSum came with 11. */
  readonly opset?: number;
}

const methods: Record<Pooling, Method> = {
  mean: { nodes: maskedSum, isSum: true, divisor: (tokens) => tokens },
  mean_sqrt_len: { nodes: maskedSum, isSum: true, divisor: Math.sqrt },
  weighted_mean: {
    nodes: placeWeightedSum,
    isSum: true,
    divisor: (tokens) => (tokens * (tokens + 1)) / 2,
    opset: 11,
  },
  last: { nodes: lastToken, isSum: true, opset: 11 },
  cls: { nodes: firstToken, isSum: false },
  max: { nodes: largest, isSum: false },
};

/**
 * The output that is the finished vector: sentence-transformers' name for it, or the only output when it is
 * [batch, dim]. Not any output of that shape: BERT's `pooler_output` has it too and is something else.
 */
function sentenceOutput({ outputs }: OnnxOutline, byNameOnly: boolean): GraphValue | undefined {
  const named = outputs.find((output) => output.name === 'sentence_embedding');
  if (named || byNameOnly) return named;
  return outputs.length === 1 && outputs[0]?.shape?.length === 2 ? outputs[0] : undefined;
}

/** Whether the only output may be that of a masked language model: [batch, sequence, vocabulary]. */
export function mayBeVocabulary({ outputs }: OnnxOutline): boolean {
  return outputs.length === 1 && outputs[0]!.name === 'logits';
}

/** The output [batch, sequence, dim]: by its usual names, else the first of that shape. */
function tokenOutput({ outputs }: OnnxOutline): GraphValue | undefined {
  const usual = ['last_hidden_state', 'token_embeddings'];
  return (
    outputs.find((output) => usual.includes(output.name)) ??
    outputs.find((output) => output.shape?.length === 3)
  );
}

/** The mask as float32, [batch, sequence]: 1 for a token, 0 for padding. */
export function floatMask(): Uint8Array {
  return node('Cast', ['attention_mask'], name('mask'), intAttribute('to', onnx.element.float));
}

/** [batch, 1, sequence] weights times [batch, sequence, dim] vectors: the weighted sum of each row. */
export function weightedSum(
  weights: string,
  vectors: string,
  opset: number,
  output = pooledOutput,
): Uint8Array[] {
  return [
    ...unsqueeze(weights, name('weights_row'), 1, opset),
    node('MatMul', [name('weights_row'), vectors], output),
  ];
}

/** The sum of a row's tokens. */
function maskedSum(vectors: string, opset: number): Uint8Array[] {
  return [floatMask(), ...weightedSum(name('mask'), vectors, opset)];
}

/** The same with each token's place in the row, from 1 on, as its weight. */
function placeWeightedSum(vectors: string, opset: number): Uint8Array[] {
  return [
    floatMask(),
    scalarConstant(name('tokens'), 1),
    node('CumSum', [name('mask'), name('tokens')], name('places')),
    node('Mul', [name('mask'), name('places')], name('weights')),
    ...weightedSum(name('weights'), vectors, opset),
  ];
}

/**
 * The vector of the last token of each row. Counted from the end of the row, padding adds nothing, so the last token
 * is the one at which the count is 1. A sum with weight 0 for all others: exact, as long as their numbers are finite.
 */
function lastToken(vectors: string, opset: number): Uint8Array[] {
  return [
    floatMask(),
    scalarConstant(name('tokens'), 1),
    node('CumSum', [name('mask'), name('tokens')], name('from_end'), intAttribute('reverse', 1)),
    floatConstant(name('one'), 1),
    node('Equal', [name('from_end'), name('one')], name('counts_one')),
    node('Cast', [name('counts_one')], name('ones'), intAttribute('to', onnx.element.float)),
    // Padding before the row's first token would count as well.
    node('Mul', [name('ones'), name('mask')], name('weights')),
    ...weightedSum(name('weights'), vectors, opset),
  ];
}

/** The vector of the first token of each row. */
function firstToken(vectors: string): Uint8Array[] {
  return [
    scalarConstant(name('first'), 0),
    node('Gather', [vectors, name('first')], pooledOutput, intAttribute('axis', 1)),
  ];
}

/** The largest number of float32. */
const FLOAT_MAX = 2 ** 127 * (2 - 2 ** -23);

/** The largest of a row's tokens in each dimension. */
function largest(vectors: string, opset: number): Uint8Array[] {
  return [...tokensOnly(vectors, opset), ...reduceMax(name('tokens_only'), pooledOutput, 1, opset)];
}

/** `tokens_only`: padding is made smaller than any token. Adding 0 changes no token. */
export function tokensOnly(vectors: string, opset: number): Uint8Array[] {
  return [
    floatMask(),
    floatConstant(name('one'), 1),
    node('Sub', [name('mask'), name('one')], name('padding')),
    floatConstant(name('most'), FLOAT_MAX),
    node('Mul', [name('padding'), name('most')], name('penalty')),
    ...unsqueeze(name('penalty'), name('penalty_column'), 2, opset),
    node('Add', [vectors, name('penalty_column')], name('tokens_only')),
  ];
}
