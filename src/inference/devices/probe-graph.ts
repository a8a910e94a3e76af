import { appendixOf, floatInput, floatOutput, intAttribute, node } from '../onnx/graph-appendix.ts';
import { onnx } from '../onnx/onnx-outline.ts';
import { bytesField, varintField } from '../onnx/protobuf.ts';

/** Columns of the graph's input `x` and its output `y`, both [rows, columns] in float32; those of MiniLM. */
export const PROBE_COLUMNS = 384;
const INNER_COLUMNS = 4 * PROBE_COLUMNS;
const LAYERS = 2;

/** All weights are 1/32 or -1/32, which both types hold exactly, and which keeps numbers near 1. */
const BITS = { float32: [0x3d000000, 0xbd000000], float16: [0x2800, 0xa800] } as const;

const OPSET = 14;
const IR_VERSION = 7;

/**
 * An ONNX file for trying a device: matrix products of the shapes that a small text encoder consists of.
 * @param half whether the products are in float16; `x` and `y` stay float32
 */
export function probeGraph(half: boolean): Buffer {
  const type = half ? onnx.element.float16 : onnx.element.float;
  const nodes = [node('Cast', ['x'], 'h0', intAttribute('to', type))];
  for (let layer = 0; layer < LAYERS; layer++) {
    nodes.push(node('MatMul', [`h${layer}`, 'up'], `inner${layer}`));
    nodes.push(node('MatMul', [`inner${layer}`, 'down'], `h${layer + 1}`));
  }
  nodes.push(node('Cast', [`h${LAYERS}`], 'y', intAttribute('to', onnx.element.float)));
  const graph = appendixOf(
    ...nodes,
    bytesField(onnx.graph.name, 'probe'),
    weights('up', PROBE_COLUMNS, INNER_COLUMNS, type),
    weights('down', INNER_COLUMNS, PROBE_COLUMNS, type),
    floatInput('x', [null, PROBE_COLUMNS]),
    floatOutput('y', [null, PROBE_COLUMNS]),
  );
  const opsets = bytesField(onnx.model.opsetImport, varintField(onnx.opset.version, OPSET));
  return Buffer.concat([varintField(onnx.model.irVersion, IR_VERSION), graph, opsets]);
}

/** The next of numbers that look random and are the same each time (Lehmer's generator with Park and Miller's modulus). */
function next(state: number): number {
  return (state * 48_271) % 2_147_483_647;
}

function weights(name: string, rows: number, columns: number, type: number): Uint8Array {
  const half = type === onnx.element.float16;
  const data = half ? new Uint16Array(rows * columns) : new Uint32Array(rows * columns);
  const [positive, negative] = half ? BITS.float16 : BITS.float32;
  let state = rows;
  for (let at = 0; at < data.length; at++) {
    state = next(state);
    data[at] = state & 0x4000 ? positive : negative;
  }
  return bytesField(
    onnx.graph.initializer,
    varintField(onnx.tensor.dims, rows),
    varintField(onnx.tensor.dims, columns),
    varintField(onnx.tensor.dataType, type),
    bytesField(onnx.tensor.name, name),
    bytesField(onnx.tensor.rawData, new Uint8Array(data.buffer)),
  );
}

/** An input for `rows` rows, the same each time, between -1 and 1. */
export function probeInput(rows: number): Float32Array {
  let state = 7;
  return Float32Array.from({ length: rows * PROBE_COLUMNS }, () => {
    state = next(state);
    return state / 2 ** 30 - 1;
  });
}
