import { randomBytes } from 'node:crypto';
import { mkdirSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { onnx } from '../../../src/inference/onnx/onnx-outline.ts';
import { bytesField, varintField } from '../../../src/inference/onnx/protobuf.ts';
import type { VectorSpec } from '../../../src/inference/wire/session-spec.ts';
import { type TinyModel, tinyModel, tinySpec, tinyTable } from '../../unit/inference/tiny-model.ts';
import { next, startEngine } from './support.ts';

/** A spec of a model whose file holds these bytes, in a folder that the test takes away. */
function specOf(bytes: Uint8Array | TinyModel, spec: Partial<VectorSpec> = {}): VectorSpec {
  const isBytes = bytes instanceof Uint8Array;
  const made = tinySpec(isBytes ? {} : bytes, spec);
  onTestFinished(() => rmSync(dirname(made.onnxPath), { recursive: true, force: true }));
  if (isBytes) writeFileSync(made.onnxPath, bytes);
  return made;
}

function node(opType: string, inputs: string[], outputs: string[], ...attributes: Uint8Array[]): Uint8Array {
  return bytesField(
    onnx.graph.node,
    ...inputs.map((name) => bytesField(onnx.node.input, name)),
    ...outputs.map((name) => bytesField(onnx.node.output, name)),
    bytesField(onnx.node.opType, opType),
    ...attributes,
  );
}

function value(field: number, name: string, elementType: number, ...dims: number[]): Uint8Array {
  const shape = dims.map((size) =>
    bytesField(onnx.shape.dim, ...(size < 0 ? [] : [varintField(onnx.dim.value, size)])),
  );
  const tensor = bytesField(
    onnx.type.tensor,
    varintField(onnx.tensorType.elementType, elementType),
    bytesField(onnx.tensorType.shape, ...shape),
  );
  return bytesField(field, bytesField(onnx.valueInfo.name, name), bytesField(onnx.valueInfo.type, tensor));
}

/** A constant: of int64 or, as 9, of bool. */
function initializer(name: string, type: number, number: number, ...dims: number[]): Uint8Array {
  return bytesField(
    onnx.graph.initializer,
    ...dims.map((size) => varintField(onnx.tensor.dims, size)),
    varintField(onnx.tensor.dataType, type),
    bytesField(8, name),
    bytesField(onnx.tensor.rawData, type === 9 ? Buffer.of(number) : int64(number)),
  );
}

function int64(number: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeBigInt64LE(BigInt(number));
  return bytes;
}

const inputs = ['input_ids', 'attention_mask'].map((name) =>
  value(onnx.graph.input, name, onnx.element.int64, -1, -1),
);
const output = (rank: number) =>
  value(onnx.graph.output, 'last_hidden_state', onnx.element.float, ...new Array<number>(rank).fill(-1));

function model(...graph: Uint8Array[]): Buffer {
  const opset = bytesField(onnx.model.opsetImport, varintField(onnx.opset.version, 17));
  return Buffer.concat([
    varintField(1, 8),
    bytesField(onnx.model.graph, bytesField(2, 'hostile'), ...graph),
    opset,
  ]);
}

/** A graph with a loop whose condition stays true. */
function endless(): Buffer {
  const body = [
    node('Identity', ['go_on'], ['go_on_out']),
    node('Identity', ['carried'], ['carried_out']),
    bytesField(2, 'body'),
    value(onnx.graph.input, 'round', onnx.element.int64),
    value(onnx.graph.input, 'go_on', 9),
    value(onnx.graph.input, 'carried', onnx.element.int64, -1, -1),
    value(onnx.graph.output, 'go_on_out', 9),
    value(onnx.graph.output, 'carried_out', onnx.element.int64, -1, -1),
  ];
  const graph = bytesField(
    onnx.node.attribute,
    bytesField(onnx.attribute.name, 'body'),
    bytesField(6, ...body),
    varintField(onnx.attribute.type, 5),
  );
  return model(
    initializer('yes', 9, 1),
    node('Loop', ['', 'yes', 'input_ids'], ['ids'], graph),
    node(
      'Cast',
      ['ids'],
      ['last_hidden_state'],
      bytesField(
        onnx.node.attribute,
        bytesField(onnx.attribute.name, 'to'),
        varintField(onnx.attribute.int, onnx.element.float),
        varintField(onnx.attribute.type, onnx.attributeType.int),
      ),
    ),
    ...inputs,
    output(3),
  );
}

/** A graph whose one node is a conditional in a conditional in a conditional and so on. */
function nested(depth: number): Buffer {
  let graph: Uint8Array = bytesField(2, 'innermost');
  for (let level = 0; level < depth; level++) {
    graph = node(
      'If',
      ['x'],
      ['y'],
      bytesField(
        onnx.node.attribute,
        bytesField(onnx.attribute.name, 'then_branch'),
        bytesField(6, graph),
        varintField(onnx.attribute.type, 5),
      ),
    );
  }
  return model(graph, ...inputs, output(3));
}

const hugeTable = bytesField(
  onnx.graph.initializer,
  varintField(onnx.tensor.dims, 2 ** 40),
  varintField(onnx.tensor.dims, 3),
  varintField(onnx.tensor.dataType, onnx.element.float),
  bytesField(8, 'table'),
  bytesField(onnx.tensor.rawData, Buffer.alloc(12)),
);
const gather = node('Gather', ['table', 'input_ids'], ['last_hidden_state']);

describe('a file that is no model', () => {
  it.each<[string, () => VectorSpec, RegExp]>([
    ['empty', () => specOf(Buffer.alloc(0)), /it holds no ONNX graph/],
    ['random bytes', () => specOf(randomBytes(100_000)), /cannot be loaded/],
    ['a page of a hub', () => specOf(Buffer.from('<!doctype html><title>401')), /cannot be loaded/],
    [
      'a pointer of git-lfs',
      () => specOf(Buffer.from('version https://git-lfs.github.com/spec/v1\n')),
      /cannot be loaded/,
    ],
    ['cut short', () => specOf(tinyModel().subarray(0, -20)), /the file ends within a field/],
    ['one endless number', () => specOf(Buffer.alloc(10_000_000, 0xff)), /a number of more than ten bytes/],
    [
      'a field of 2^62 bytes',
      () => specOf(Buffer.from([0x3a, ...varintField(0, 2 ** 52).subarray(1)])),
      /ends within a field/,
    ],
    ['nested 5,000 times', () => specOf(nested(5_000)), /cannot be loaded/],
    [
      'of inputs without end',
      () => specOf(model(...new Array(20_000).fill(inputs[0]), output(3))),
      /more than 10000 inputs, outputs or files/,
    ],
    ['of an operator set of tomorrow', () => specOf({ opset: 99 }), /Opset 99/],
    [
      'of an unknown operator',
      () => specOf(model(node('Summon', ['input_ids'], ['last_hidden_state']), ...inputs, output(3))),
      /Summon/,
    ],
    [
      'with a table of 13 TB',
      () => specOf(model(hugeTable, gather, ...inputs, output(3))),
      /declares a size of 13194139533312 bytes/,
    ],
    [
      'of images',
      () => specOf({ inputs: ['pixel_values', 'attention_mask'], lookup: 'pixel_values' }),
      /asks for the input pixel_values/,
    ],
    [
      'of one vector for all',
      () =>
        specOf(
          model(
            node(
              'ReduceMax',
              ['table'],
              ['sentence_embedding'],
              bytesField(
                onnx.node.attribute,
                bytesField(onnx.attribute.name, 'keepdims'),
                varintField(onnx.attribute.int, 1),
                varintField(onnx.attribute.type, onnx.attributeType.int),
              ),
              bytesField(
                onnx.node.attribute,
                bytesField(onnx.attribute.name, 'axes'),
                varintField(onnx.attribute.ints, 0),
                varintField(onnx.attribute.type, onnx.attributeType.ints),
              ),
            ),
            bytesField(
              onnx.graph.initializer,
              varintField(onnx.tensor.dims, 4),
              varintField(onnx.tensor.dims, 3),
              varintField(onnx.tensor.dataType, onnx.element.float),
              bytesField(8, 'table'),
              bytesField(onnx.tensor.rawData, Buffer.from(Float32Array.from(tinyTable.flat()).buffer)),
            ),
            ...inputs,
            value(onnx.graph.output, 'sentence_embedding', onnx.element.float, 1, 3),
          ),
        ),
      /gives 3 numbers for one row and 3 for two/,
    ],
    ['of other dimensions', () => specOf({}, { dimensions: 4 }), /gives 3 dimensions where 4 are expected/],
    [
      'a folder',
      () => {
        const spec = specOf({});
        return { ...spec, key: 'folder', onnxPath: dirname(spec.onnxPath) };
      },
      /cannot be read/,
    ],
  ])('%s is an error that names it, and the engine goes on', async (_, make, message) => {
    const { engine } = startEngine();
    const good = specOf({});
    await engine.run(good, [Int32Array.of(1)]);
    const { pids } = engine;
    const spec = make();
    const error = await engine.run(spec, [Int32Array.of(1)]).catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      name: 'EngineError',
      kind: 'load',
      message: expect.stringMatching(message),
    });
    const text = (error as Error).message;
    expect(text).toContain(`Model 'tiny': ${spec.onnxPath} `);
    expect(text).not.toMatch(/\n|onnxruntime_src/);
    expect(text.length).toBeLessThan(700);
    expect(await engine.run(good, [Int32Array.of(2)])).toEqual([Float32Array.of(3, 4, 0)]);
    expect(engine.pids).toEqual(pids);
  });
});

describe('weights in another file', () => {
  const table = Buffer.from(Float32Array.from(tinyTable.flat()).buffer);

  /** A model that takes its table from `name`, and a table of the same shape outside its folder. */
  function withTable(name: (secret: string) => string): VectorSpec {
    const parent = specOf({});
    const secret = join(dirname(parent.onnxPath), 'secret.bin');
    writeFileSync(secret, table);
    const folder = join(dirname(parent.onnxPath), 'onnx');
    mkdirSync(join(folder, 'sub'), { recursive: true });
    writeFileSync(join(folder, 'sub', 'own.bin'), table);
    symlinkSync(secret, join(folder, 'link.bin'));
    symlinkSync(join('sub', 'own.bin'), join(folder, 'own-link.bin'));
    const onnxPath = join(folder, 'model.onnx');
    writeFileSync(onnxPath, tinyModel({ externalFile: name(secret) }));
    return { ...parent, key: onnxPath, onnxPath };
  }

  it.each<[string, (secret: string) => string, RegExp]>([
    ['a path upwards', () => '../secret.bin', /from '\.\.\/secret\.bin', which is outside its folder/],
    ['a path upwards and on', () => 'sub/../../secret.bin', /outside its folder/],
    ['the password file', () => '../../../../../../etc/passwd', /outside its folder/],
    ['an absolute path', (secret) => secret, /secret\.bin', which is outside its folder/],
    [
      'a link out of the folder',
      () => 'link.bin',
      /'link\.bin' with its weights is a link out of its folder/,
    ],
    ['the folder itself', () => '.', /from '\.', which is outside its folder/],
    ['a folder', () => 'sub', /'sub', which it takes its weights from, is no file/],
    ['a file that is not there', () => 'none.bin', /the file 'none\.bin' with its weights is missing/],
    ['an address in memory', () => '*/_ORT_MEM_ADDR_/*', /with its weights is missing/],
  ])('by %s is refused', async (_, name, message) => {
    const { engine } = startEngine();
    await expect(engine.run(withTable(name), [Int32Array.of(1)])).rejects.toMatchObject({
      kind: 'load',
      message: expect.stringMatching(message),
    });
  });

  it.each(['sub/own.bin', './sub/own.bin', 'own-link.bin'])('by %s is read', async (name) => {
    const { engine } = startEngine();
    expect(
      await engine.run(
        withTable(() => name),
        [Int32Array.of(2)],
      ),
    ).toEqual([Float32Array.of(3, 4, 0)]);
  });
});

describe('a model that ends the process while it is loaded', () => {
  it('is given up when it takes too long, all its batches with it, and others run', async () => {
    const { engine } = startEngine({ loadTimeoutMs: 5_000 });
    const spec = specOf(endless());
    const good = specOf({});
    const bad = [1, 2, 3].map((id) => engine.run(spec, [Int32Array.of(id)]));
    const other = engine.run(good, [Int32Array.of(2)]);
    for (const result of await Promise.allSettled(bad)) {
      expect(result).toMatchObject({
        status: 'rejected',
        reason: { kind: 'load', message: `Model 'tiny': ${spec.onnxPath} was not loaded within 5000 ms` },
      });
    }
    expect(await other).toEqual([Float32Array.of(3, 4, 0)]);
  });

  it('is given up when it kills two processes, and others run', async () => {
    const { engine } = startEngine();
    const spec = specOf(endless());
    const good = specOf({});
    await engine.run(good, [Int32Array.of(1)]);
    const bad = [1, 2, 3].map((id) => engine.run(spec, [Int32Array.of(id)]));
    const other = engine.run(good, [Int32Array.of(2)]);
    const settled = Promise.allSettled(bad);
    for (let time = 0; time < 2; time++) {
      const { pid } = await next(engine, 'loading');
      process.kill(pid!, 'SIGKILL');
    }
    for (const result of await settled) {
      expect(result).toMatchObject({
        status: 'rejected',
        reason: {
          kind: 'load',
          message: `Model 'tiny': the engine process was ended by SIGKILL while it loaded ${spec.onnxPath}`,
        },
      });
    }
    expect(await other).toEqual([Float32Array.of(3, 4, 0)]);
  });

  it('once, by chance, is not noticed', async () => {
    const { engine } = startEngine();
    const spec = specOf(endless());
    // Before the next process is started.
    engine.once('died', () => writeFileSync(spec.onnxPath, tinyModel()));
    const loading = next(engine, 'loading');
    const result = engine.run(spec, [Int32Array.of(2)]);
    process.kill((await loading).pid!, 'SIGKILL');
    expect(await result).toEqual([Float32Array.of(3, 4, 0)]);
  });
});
