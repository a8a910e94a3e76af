import { fieldsOf, nestedIn, numberIn, stringIn } from './protobuf.ts';

/**
 * Field numbers of the messages that are looked at, from onnx.proto (ONNX 1.x; they never change):
 * https://github.com/onnx/onnx/blob/main/onnx/onnx.proto
 */
export const onnx = {
  model: { irVersion: 1, graph: 7, opsetImport: 8 },
  opset: { domain: 1, version: 2 },
  graph: { node: 1, name: 2, initializer: 5, input: 11, output: 12 },
  node: { input: 1, output: 2, name: 3, opType: 4, attribute: 5 },
  attribute: { name: 1, int: 3, tensor: 5, ints: 8, type: 20 },
  attributeType: { int: 2, tensor: 4, ints: 7 },
  tensor: { dims: 1, dataType: 2, int64Data: 7, name: 8, rawData: 9, externalData: 13, dataLocation: 14 },
  entry: { key: 1, value: 2 },
  valueInfo: { name: 1, type: 2 },
  type: { tensor: 1 },
  tensorType: { elementType: 1, shape: 2 },
  shape: { dim: 1 },
  dim: { value: 1, param: 2 },
  /** TensorProto.DataType. */
  element: { float: 1, int32: 6, int64: 7, float16: 10 },
  /** TensorProto.DataLocation. */
  dataLocation: { external: 1 },
} as const;

/** An input or output of a graph. */
export interface GraphValue {
  readonly name: string;
  /** TensorProto.DataType. */
  readonly elementType: number;
  /** The sizes that are fixed, null for those that are not; null as a whole when the file does not say. */
  readonly shape: readonly (number | null)[] | null;
}

/** What an ONNX file says of itself, without its nodes and weights. */
export interface OnnxOutline {
  /** Version of the default operator set. */
  readonly opset: number;
  readonly inputs: readonly GraphValue[];
  readonly outputs: readonly GraphValue[];
  /** Whether it computes in dynamic int8. */
  readonly int8: boolean;
  /** The further files that weights lie in, each once, as the file names them. */
  readonly externalFiles: readonly string[];
}

/** No model has more inputs, or outputs, than this. A file with more is damaged. */
const MOST_VALUES = 10_000;

/** Reads the outline of an ONNX file. Weights are stepped over. @throws Error when the bytes are no ONNX file */
export function readOutline(model: Uint8Array): OnnxOutline {
  const opset = Math.max(0, ...nestedIn(model, onnx.model.opsetImport).map(defaultOpset));
  const inputs: GraphValue[] = [];
  const outputs: GraphValue[] = [];
  const externalFiles = new Set<string>();
  let int8 = false;
  for (const graph of nestedIn(model, onnx.model.graph)) {
    for (const { number, bytes } of fieldsOf(graph)) {
      if (number === onnx.graph.node && bytes) {
        int8 ||= stringIn(bytes, onnx.node.opType) === 'MatMulInteger';
      } else if (number === onnx.graph.input && bytes) {
        inputs.push(graphValue(bytes));
      } else if (number === onnx.graph.output && bytes) {
        outputs.push(graphValue(bytes));
      } else if (number === onnx.graph.initializer && bytes) {
        if (numberIn(bytes, onnx.tensor.dataLocation) === onnx.dataLocation.external) {
          externalFiles.add(externalFile(bytes));
        }
      }
      if (inputs.length + outputs.length + externalFiles.size > MOST_VALUES) {
        throw new Error(`it has more than ${MOST_VALUES} inputs, outputs or files`);
      }
    }
  }
  if (opset === 0 || outputs.length === 0) {
    throw new Error('it holds no ONNX graph');
  }
  return { opset, inputs, outputs, int8, externalFiles: [...externalFiles] };
}

/** The file that a tensor's numbers lie in; '' when it does not say. */
function externalFile(tensor: Uint8Array): string {
  const { key, value } = onnx.entry;
  const entries = nestedIn(tensor, onnx.tensor.externalData);
  const location = entries.filter((entry) => stringIn(entry, key) === 'location').at(-1);
  return location ? stringIn(location, value) : '';
}

/** The version when this import is of the default domain ('' or 'ai.onnx'), else 0. */
function defaultOpset(message: Uint8Array): number {
  const domain = stringIn(message, onnx.opset.domain);
  return domain === '' || domain === 'ai.onnx' ? (numberIn(message, onnx.opset.version) ?? 0) : 0;
}

function graphValue(message: Uint8Array): GraphValue {
  const tensor = nestedIn(message, onnx.valueInfo.type).flatMap((type) =>
    nestedIn(type, onnx.type.tensor),
  )[0];
  const shape = tensor && nestedIn(tensor, onnx.tensorType.shape)[0];
  return {
    name: stringIn(message, onnx.valueInfo.name),
    elementType: (tensor && numberIn(tensor, onnx.tensorType.elementType)) ?? 0,
    shape: shape ? nestedIn(shape, onnx.shape.dim).map((dim) => numberIn(dim, onnx.dim.value)) : null,
  };
}
