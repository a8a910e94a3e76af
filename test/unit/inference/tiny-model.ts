import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onnx } from '../../../src/inference/onnx/onnx-outline.ts';
import { bytesField, varintField } from '../../../src/inference/onnx/protobuf.ts';
import type { VectorSpec } from '../../../src/inference/wire/session-spec.ts';

export interface TinyModel {
  /** Version of the operator set. */
  opset?: number;
  /** Vectors of the tokens; its index is the token id. */
  table?: number[][];
  /** Add the output `sentence_embedding`: the largest of the tokens in each dimension (no more than operator set 17). */
  finished?: boolean;
  /** Leave out the output with one vector a token. */
  withoutTokens?: boolean;
  /** Give the token vectors as float16. */
  half?: boolean;
  /** Put the table into a second file of this name. */
  externalFile?: string;
  /** Names of the inputs, and the one that the table is looked up by. */
  inputs?: string[];
  lookup?: string;
}

export const tinyTable = [
  [1, 0, 0],
  [0, 2, 0],
  [3, 4, 0],
  [0, 0, -5],
];

/** An ONNX file that looks token ids up in a table: the smallest model whose vectors can be told by hand. */
export function tinyModel(options: TinyModel = {}): Buffer {
  const { opset = 17, half = false } = options;
  const tokens = half ? 'tokens32' : 'last_hidden_state';
  const nodes = [node('Gather', ['table', options.lookup ?? 'input_ids'], tokens)];
  if (half) {
    nodes.push(node('Cast', [tokens], 'last_hidden_state', int('to', onnx.element.float16)));
  }
  const outputs = options.withoutTokens
    ? []
    : [output('last_hidden_state', half ? onnx.element.float16 : onnx.element.float, 3)];
  if (options.finished) {
    nodes.push(node('ReduceMax', [tokens], 'sentence_embedding', ints('axes', 1), int('keepdims', 0)));
    outputs.push(output('sentence_embedding', onnx.element.float, 2));
  }
  const inputs = (options.inputs ?? ['input_ids', 'attention_mask']).map((name) =>
    bytesField(onnx.graph.input, value(name, onnx.element.int64, 2)),
  );
  const graph = bytesField(
    onnx.model.graph,
    ...nodes,
    bytesField(2, 'tiny'),
    table(options),
    ...inputs,
    ...outputs,
  );
  const opsetImport = bytesField(onnx.model.opsetImport, varintField(onnx.opset.version, opset));
  // 1 is ir_version.
  return Buffer.concat([varintField(1, 7), graph, opsetImport]);
}

/** Writes the model (and its table) to a new folder and returns the spec to load it with. */
export function tinySpec(options: TinyModel = {}, spec: Partial<VectorSpec> = {}): VectorSpec {
  const directory = mkdtempSync(join(tmpdir(), 'pgembedder-tiny-'));
  const onnxPath = join(directory, 'model.onnx');
  writeFileSync(onnxPath, tinyModel(options));
  if (options.externalFile) {
    writeFileSync(join(directory, options.externalFile), floats(options.table ?? tinyTable));
  }
  return {
    key: onnxPath,
    model: 'tiny',
    variant: 'fp32',
    onnxPath,
    expectedSha256: null,
    output: 'vector',
    steps: [],
    pooling: 'mean',
    usePooledOutput: true,
    normalize: false,
    dimensions: 3,
    padTokenId: 0,
    ...spec,
  };
}

function table({ table: rows = tinyTable, externalFile }: TinyModel): Uint8Array {
  // TensorProto: 8 name, 9 raw_data, 13 external_data (StringStringEntryProto: 1 key, 2 value).
  const data = externalFile
    ? [
        bytesField(13, bytesField(1, 'location'), bytesField(2, externalFile)),
        varintField(onnx.tensor.dataLocation, onnx.dataLocation.external),
      ]
    : [bytesField(9, floats(rows))];
  return bytesField(
    onnx.graph.initializer,
    varintField(onnx.tensor.dims, rows.length),
    varintField(onnx.tensor.dims, rows[0]!.length),
    varintField(onnx.tensor.dataType, onnx.element.float),
    bytesField(8, 'table'),
    ...data,
  );
}

function floats(rows: number[][]): Buffer {
  return Buffer.from(Float32Array.from(rows.flat()).buffer);
}

function node(type: string, inputs: string[], out: string, ...attributes: Uint8Array[]): Uint8Array {
  return bytesField(
    onnx.graph.node,
    ...inputs.map((input) => bytesField(onnx.node.input, input)),
    bytesField(onnx.node.output, out),
    bytesField(onnx.node.opType, type),
    ...attributes,
  );
}

function int(name: string, number: number): Uint8Array {
  return bytesField(
    onnx.node.attribute,
    bytesField(onnx.attribute.name, name),
    varintField(onnx.attribute.int, number),
    varintField(onnx.attribute.type, onnx.attributeType.int),
  );
}

function ints(name: string, number: number): Uint8Array {
  return bytesField(
    onnx.node.attribute,
    bytesField(onnx.attribute.name, name),
    varintField(onnx.attribute.ints, number),
    varintField(onnx.attribute.type, onnx.attributeType.ints),
  );
}

function output(name: string, elementType: number, rank: number): Uint8Array {
  return bytesField(onnx.graph.output, value(name, elementType, rank));
}

function value(name: string, elementType: number, rank: number): Uint8Array {
  const shape = Array.from({ length: rank }, () => bytesField(onnx.shape.dim));
  const tensor = bytesField(
    onnx.type.tensor,
    varintField(onnx.tensorType.elementType, elementType),
    bytesField(onnx.tensorType.shape, ...shape),
  );
  return Buffer.concat([bytesField(onnx.valueInfo.name, name), bytesField(onnx.valueInfo.type, tensor)]);
}
