import { type GraphValue, onnx } from './onnx-outline.ts';
import { bytesField, varintField } from './protobuf.ts';

/** How to get the numbers of a task out of an ONNX file. */
export interface GraphPlan {
  /** Bytes to put after the file's own, or null when it has the output already. */
  readonly appendix: Uint8Array | null;
  /** The output to fetch; float32. */
  readonly output: string;
  /** Whether the output is the model's own end: what its folder says of further steps is done in it. */
  readonly finished: boolean;
  /** What the numbers of a row of so many tokens are still to be divided by: a sum leaves the graph, not a mean. */
  readonly divisor: (tokens: number) => number;
}

/** Of an output that is finished. */
export const noDivisor = () => 1;

/** Names inside the added graph part; the prefix keeps them apart from the model's own. */
export function addedName(suffix: string): string {
  return `pgembedder_${suffix}`;
}

/**
 * Bytes that add nodes and outputs to the graph of an ONNX file when they are put after it.
 *
 * The file is one protobuf message, and bytes put after it that are a message of the same type are merged into it:
 * repeated fields (the graph's nodes, constants and outputs) are appended. So a few hundred bytes give the graph one
 * more output without parsing or copying the weights.
 */
export function appendixOf(...parts: Uint8Array[]): Uint8Array {
  return bytesField(onnx.model.graph, ...parts);
}

/**
 * A value as float32, with the nodes that make it so: a sum in float16 would lose digits, and float32 is what leaves
 * the session.
 * @param suffix of its name, where a node is needed
 */
export function toFloat(value: GraphValue, suffix: string): [name: string, nodes: Uint8Array[]] {
  if (value.elementType === onnx.element.float) {
    return [value.name, []];
  }
  const output = addedName(suffix);
  return [output, [node('Cast', [value.name], output, intAttribute('to', onnx.element.float))]];
}

/** Declares an output. Sizes that the model does not fix are null. */
export function floatOutput(name: string, shape: readonly (number | null)[]): Uint8Array {
  return bytesField(onnx.graph.output, ...floatValue(name, shape));
}

/** Declares an input, in the same way. */
export function floatInput(name: string, shape: readonly (number | null)[]): Uint8Array {
  return bytesField(onnx.graph.input, ...floatValue(name, shape));
}

function floatValue(name: string, shape: readonly (number | null)[]): Uint8Array[] {
  const dims = shape.map((size) =>
    bytesField(onnx.shape.dim, ...(size === null ? [] : [varintField(onnx.dim.value, size)])),
  );
  const tensor = bytesField(
    onnx.type.tensor,
    varintField(onnx.tensorType.elementType, onnx.element.float),
    bytesField(onnx.tensorType.shape, ...dims),
  );
  return [bytesField(onnx.valueInfo.name, name), bytesField(onnx.valueInfo.type, tensor)];
}

/** A new axis of length 1. */
export function unsqueeze(input: string, output: string, axis: number, opset: number): Uint8Array[] {
  return alongAxis('Unsqueeze', input, output, axis, opset >= 13);
}

/** The largest along an axis, which is dropped. */
export function reduceMax(input: string, output: string, axis: number, opset: number): Uint8Array[] {
  return alongAxis('ReduceMax', input, output, axis, opset >= 18, intAttribute('keepdims', 0));
}

/** Such nodes took their axes as an attribute at first, and as an input from some operator set on. */
function alongAxis(
  opType: string,
  input: string,
  output: string,
  axis: number,
  asInput: boolean,
  ...attributes: Uint8Array[]
): Uint8Array[] {
  if (asInput) {
    const axes = `${output}_axes`;
    return [vectorConstant(axes, axis), node(opType, [input, axes], output, ...attributes)];
  }
  const axes = bytesField(
    onnx.node.attribute,
    bytesField(onnx.attribute.name, 'axes'),
    varintField(onnx.attribute.ints, axis),
    varintField(onnx.attribute.type, onnx.attributeType.ints),
  );
  return [node(opType, [input], output, axes, ...attributes)];
}

export function node(
  opType: string,
  inputs: string[],
  output: string,
  ...attributes: Uint8Array[]
): Uint8Array {
  return bytesField(
    onnx.graph.node,
    ...inputs.map((input) => bytesField(onnx.node.input, input)),
    bytesField(onnx.node.output, output),
    bytesField(onnx.node.name, `${output}_${opType}`),
    bytesField(onnx.node.opType, opType),
    ...attributes,
  );
}

export function intAttribute(attribute: string, value: number): Uint8Array {
  return bytesField(
    onnx.node.attribute,
    bytesField(onnx.attribute.name, attribute),
    varintField(onnx.attribute.int, value),
    varintField(onnx.attribute.type, onnx.attributeType.int),
  );
}

/** An int64 constant of shape [1]. */
function vectorConstant(output: string, value: number): Uint8Array {
  return constant(output, ...int64Data(value), varintField(onnx.tensor.dims, 1));
}

/** An int64 constant without dimensions, so that Gather drops the axis. */
export function scalarConstant(output: string, value: number): Uint8Array {
  return constant(output, ...int64Data(value));
}

/** A float32 constant without dimensions. */
export function floatConstant(output: string, value: number): Uint8Array {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return constant(
    output,
    varintField(onnx.tensor.dataType, onnx.element.float),
    bytesField(onnx.tensor.rawData, data),
  );
}

function int64Data(value: number): Uint8Array[] {
  return [varintField(onnx.tensor.dataType, onnx.element.int64), varintField(onnx.tensor.int64Data, value)];
}

function constant(output: string, ...content: Uint8Array[]): Uint8Array {
  const tensor = bytesField(onnx.attribute.tensor, ...content);
  const attribute = bytesField(
    onnx.node.attribute,
    bytesField(onnx.attribute.name, 'value'),
    tensor,
    varintField(onnx.attribute.type, onnx.attributeType.tensor),
  );
  return node('Constant', [], output, attribute);
}
