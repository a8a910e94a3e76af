import type { Pooling } from '../models/description.ts';
import { type GraphValue, type OnnxOutline, onnx } from './onnx-outline.ts';
import { bytesField, varintField } from './protobuf.ts';

/** The output that is added: [batch, 1, dim] for the masked sum, [batch, dim] for CLS; float32 in both cases. */
export const pooledOutput = 'pgembedder_pooled';

/** How to get one vector a row out of an ONNX file. */
export interface PooledGraph {
  /** Bytes to put after the file's own, or null when it pools by itself. */
  readonly appendix: Uint8Array | null;
  /** The output to fetch. */
  readonly output: string;
  /** Whether that output is the sum over the tokens, still to be divided by their number. */
  readonly isSum: boolean;
}

/**
 * Plans the pooling of a model.
 *
 * An ONNX file is one protobuf message, and bytes put after it that are a message of the same type are merged into
 * it: repeated fields (the graph's nodes, constants and outputs) are appended. So a few hundred bytes give the graph
 * one more output without parsing or copying the weights, and only [batch, dim] numbers leave the session instead of
 * [batch, sequence, dim].
 *
 * `usePooledOutput` allows the file's own [batch, dim] output to be taken. Raises Error when the file has no output
 * of the kind that is needed.
 */
export function planPooling(outline: OnnxOutline, pooling: Pooling, usePooledOutput: boolean): PooledGraph {
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
  const appendix = bytesField(onnx.model.graph, ...nodes, outputInfo(tokens, pooling));
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

// Names inside the added graph part; the prefix keeps them apart from the model's own.
const name = (suffix: string) => `pgembedder_${suffix}`;

/** [batch, 1, sequence] mask times [batch, sequence, dim] vectors: their sum where the mask is 1. */
function maskedSum(tokens: GraphValue, opset: number): Uint8Array[] {
  const [vectors, cast] = inFloat(tokens);
  return [
    ...cast,
    node('Cast', ['attention_mask'], name('mask'), intAttribute('to', onnx.element.float)),
    ...unsqueeze(name('mask'), name('mask_row'), 1, opset),
    node('MatMul', [name('mask_row'), vectors], pooledOutput),
  ];
}

/** The vector of the first token of each row. */
function firstToken(tokens: GraphValue): Uint8Array[] {
  const [vectors, cast] = inFloat(tokens);
  return [
    ...cast,
    scalarConstant(name('first'), 0),
    node('Gather', [vectors, name('first')], pooledOutput, intAttribute('axis', 1)),
  ];
}

/** Token vectors as float32: a sum in float16 would lose digits, and float32 is what leaves the session. */
function inFloat(tokens: GraphValue): [string, Uint8Array[]] {
  if (tokens.elementType === onnx.element.float) {
    return [tokens.name, []];
  }
  const cast = node('Cast', [tokens.name], name('vectors'), intAttribute('to', onnx.element.float));
  return [name('vectors'), [cast]];
}

/** Unsqueeze took its axes as an attribute up to operator set 12 and as an input from 13 on. */
function unsqueeze(input: string, output: string, axis: number, opset: number): Uint8Array[] {
  if (opset < 13) {
    const axes = bytesField(
      onnx.node.attribute,
      bytesField(onnx.attribute.name, 'axes'),
      varintField(onnx.attribute.ints, axis),
      varintField(onnx.attribute.type, onnx.attributeType.ints),
    );
    return [node('Unsqueeze', [input], output, axes)];
  }
  return [vectorConstant(name('axes'), axis), node('Unsqueeze', [input, name('axes')], output)];
}

function node(opType: string, inputs: string[], output: string, ...attributes: Uint8Array[]): Uint8Array {
  return bytesField(
    onnx.graph.node,
    ...inputs.map((input) => bytesField(onnx.node.input, input)),
    bytesField(onnx.node.output, output),
    bytesField(onnx.node.name, `${output}_${opType}`),
    bytesField(onnx.node.opType, opType),
    ...attributes,
  );
}

function intAttribute(attribute: string, value: number): Uint8Array {
  return bytesField(
    onnx.node.attribute,
    bytesField(onnx.attribute.name, attribute),
    varintField(onnx.attribute.int, value),
    varintField(onnx.attribute.type, onnx.attributeType.int),
  );
}

/** An int64 constant of shape [1]. */
function vectorConstant(output: string, value: number): Uint8Array {
  return constant(output, value, varintField(onnx.tensor.dims, 1));
}

/** An int64 constant without dimensions, so that Gather drops the axis. */
function scalarConstant(output: string, value: number): Uint8Array {
  return constant(output, value);
}

function constant(output: string, value: number, ...dims: Uint8Array[]): Uint8Array {
  const tensor = bytesField(
    onnx.attribute.tensor,
    ...dims,
    varintField(onnx.tensor.dataType, onnx.element.int64),
    varintField(onnx.tensor.int64Data, value),
  );
  const attribute = bytesField(
    onnx.node.attribute,
    bytesField(onnx.attribute.name, 'value'),
    tensor,
    varintField(onnx.attribute.type, onnx.attributeType.tensor),
  );
  return node('Constant', [], output, attribute);
}

/** Declares the new output. The sizes are left open where the model does not fix them. */
function outputInfo(tokens: GraphValue, pooling: Pooling): Uint8Array {
  const dimension = tokens.shape?.[2] ?? null;
  const dims = [
    bytesField(onnx.shape.dim),
    ...(pooling === 'mean' ? [bytesField(onnx.shape.dim, varintField(onnx.dim.value, 1))] : []),
    bytesField(onnx.shape.dim, ...(dimension === null ? [] : [varintField(onnx.dim.value, dimension)])),
  ];
  const tensor = bytesField(
    onnx.type.tensor,
    varintField(onnx.tensorType.elementType, onnx.element.float),
    bytesField(onnx.tensorType.shape, ...dims),
  );
  return bytesField(
    onnx.graph.output,
    bytesField(onnx.valueInfo.name, pooledOutput),
    bytesField(onnx.valueInfo.type, tensor),
  );
}
