import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InferenceSession, Tensor } from 'onnxruntime-node';
import { messageOf } from '../errors.ts';
import { EngineError } from './engine-error.ts';
import { finishVectors } from './finish-vectors.ts';
import { readOutline } from './onnx-outline.ts';
import { type PooledGraph, planPooling } from './pooled-graph.ts';
import type { EngineSettings } from './protocol.ts';
import type { SessionSpec } from './types.ts';

/** The inputs that are known; a model that wants another cannot be run. */
const knownInputs = ['input_ids', 'attention_mask', 'token_type_ids'] as const;
type KnownInput = (typeof knownInputs)[number];

/** A batch's vectors, one after the other, and the rows of which they are of no use. */
export interface BatchVectors {
  readonly vectors: Float32Array;
  readonly notFinite: number[];
}

/** One model, loaded. Lives in the engine process only: `run` blocks the thread. */
export class ModelSession {
  readonly #session: InferenceSession;
  readonly #graph: PooledGraph;
  readonly #dimensions: number;
  readonly #padTokenId: number;
  /** The model's inputs and whether they are int32 (else int64, as usual). */
  readonly #inputs: ReadonlyMap<KnownInput, boolean>;

  private constructor(session: InferenceSession, graph: PooledGraph, spec: SessionSpec) {
    this.#session = session;
    this.#graph = graph;
    this.#dimensions = spec.dimensions;
    this.#padTokenId = spec.padTokenId;
    this.#inputs = inputsOf(session, spec);
  }

  /**
   * Reads the ONNX file, checks it, adds the pooling and makes the session of just the bytes that were checked.
   * Raises EngineError of kind `load`.
   */
  static async load(spec: SessionSpec, settings: EngineSettings): Promise<ModelSession> {
    const bytes = await readModel(spec);
    let session: InferenceSession;
    let graph: PooledGraph;
    try {
      const outline = readOutline(bytes);
      graph = planPooling(outline, spec.pooling, spec.usePooledOutput);
      const model = graph.appendix ? Buffer.concat([bytes, graph.appendix]) : bytes;
      session = await InferenceSession.create(model, sessionOptions(spec, settings));
    } catch (error) {
      throw loadError(spec, `cannot be loaded: ${messageOf(error)}`, error);
    }
    const loaded = new ModelSession(session, graph, spec);
    await loaded.#checkDimensions(spec);
    return loaded;
  }

  /**
   * The vectors of a batch.
   * @param lengths tokens of each row
   * @param ids token ids of all rows, one row after the other
   * Raises what ONNX Runtime raises.
   */
  async run(lengths: Int32Array, ids: Int32Array, normalize: boolean): Promise<BatchVectors> {
    const output = await this.#runGraph(lengths, ids);
    return finishVectors(output, lengths, { normalize, isSum: this.#graph.isSum });
  }

  async #runGraph(lengths: Int32Array, ids: Int32Array): Promise<Float32Array> {
    const feeds = this.#feeds(lengths, ids);
    const results = await this.#session.run(feeds, [this.#graph.output]);
    const data = results[this.#graph.output]?.data;
    if (!(data instanceof Float32Array)) {
      throw new Error(`its output ${this.#graph.output} is not float32`);
    }
    return data;
  }

  #feeds(lengths: Int32Array, ids: Int32Array): Record<string, Tensor> {
    const longest = lengths.reduce((most, length) => Math.max(most, length), 1);
    const dims = [lengths.length, longest];
    const feeds: Record<string, Tensor> = {};
    for (const [name, isInt32] of this.#inputs) {
      const tensor = integerTensor(lengths.length * longest, isInt32);
      if (name !== 'token_type_ids') {
        fillRows(tensor, lengths, longest, name === 'input_ids' ? ids : null, this.#padTokenId);
      }
      feeds[name] = new Tensor(isInt32 ? 'int32' : 'int64', tensor.data, dims);
    }
    return feeds;
  }

  /** Runs two padding tokens: the cheapest way to learn what the model really gives, and its first warm-up. */
  async #checkDimensions(spec: SessionSpec): Promise<void> {
    let given: number;
    try {
      given = (await this.#runGraph(Int32Array.of(2), new Int32Array(2).fill(this.#padTokenId))).length;
    } catch (error) {
      throw loadError(spec, `cannot be run: ${messageOf(error)}`, error);
    }
    if (given !== this.#dimensions) {
      throw loadError(spec, `gives ${given} dimensions where ${this.#dimensions} are expected`);
    }
  }
}

/** `words` are 32-bit words of `data`, `stride` of them for each number. */
interface IntegerTensor {
  readonly data: BigInt64Array | Int32Array;
  readonly words: Int32Array;
  readonly stride: number;
}

/**
 * Zeros for `count` numbers. int64 numbers are written as their low words, the high words staying 0: eight times
 * faster than through BigInts. It asks for a little-endian machine, and ONNX Runtime has no other.
 */
function integerTensor(count: number, isInt32: boolean): IntegerTensor {
  if (isInt32) {
    const words = new Int32Array(count);
    return { data: words, words, stride: 1 };
  }
  const data = new BigInt64Array(count);
  return { data, words: new Int32Array(data.buffer), stride: 2 };
}

/** Writes each row's ids and then padding, or for the mask (`ids` null) ones and then zeros. */
function fillRows(
  { words, stride }: IntegerTensor,
  lengths: Int32Array,
  longest: number,
  ids: Int32Array | null,
  padTokenId: number,
): void {
  const filler = ids ? padTokenId : 0;
  let source = 0;
  let target = 0;
  for (const length of lengths) {
    for (let column = 0; column < longest; column++, target += stride) {
      words[target] = column >= length ? filler : ids ? ids[source + column]! : 1;
    }
    source += length;
  }
}

async function readModel(spec: SessionSpec): Promise<Buffer> {
  let bytes: Buffer;
  try {
    bytes = await readFile(spec.onnxPath);
  } catch (error) {
    throw loadError(spec, `cannot be read: ${messageOf(error)}`, error);
  }
  if (spec.expectedSha256 !== null) {
    const actual = createHash('sha256').update(bytes).digest('hex');
    if (actual !== spec.expectedSha256) {
      throw loadError(spec, `is damaged: its SHA-256 is ${actual} where ${spec.expectedSha256} is expected`);
    }
  }
  return bytes;
}

function inputsOf(session: InferenceSession, spec: SessionSpec): Map<KnownInput, boolean> {
  const unknown = session.inputNames.filter((name) => !isKnownInput(name));
  const missing = ['input_ids', 'attention_mask'].filter((name) => !session.inputNames.includes(name));
  if (unknown.length > 0 || missing.length > 0) {
    const wanted =
      unknown.length > 0 ? `asks for the input ${unknown.join(', ')}` : `takes no ${missing.join(', ')}`;
    throw loadError(spec, `${wanted}, so it is no text encoder that pgembedder can run`);
  }
  return new Map(
    session.inputMetadata.flatMap((input) =>
      isKnownInput(input.name) ? [[input.name, input.isTensor && input.type === 'int32'] as const] : [],
    ),
  );
}

function isKnownInput(name: string): name is KnownInput {
  return knownInputs.some((known) => known === name);
}

function loadError(spec: SessionSpec, problem: string, cause?: unknown): EngineError {
  return new EngineError('load', `Model '${spec.model}': ${spec.onnxPath} ${problem.replaceAll('\n', ' ')}`, {
    hint: 'Fetch the model again or choose another one',
    cause,
  });
}

function sessionOptions(spec: SessionSpec, settings: EngineSettings): InferenceSession.SessionOptions {
  return {
    executionProviders: ['cpu'],
    intraOpNumThreads: settings.threads,
    interOpNumThreads: 1,
    // The arena keeps what it took for the largest batch, and the token budget bounds that: over 1,500 batches of
    // shapes that varied it grew from 132 to 140 MB, where malloc alone went from 140 to 188. Neither was faster.
    enableCpuMemArena: true,
    // Plans memory for each shape it sees, and here nearly every batch has another (onnxruntime issue 11118).
    enableMemPattern: false,
    // Warnings and errors; they go to stderr and from there to the client's log.
    logSeverityLevel: 2,
    extra: {
      session: {
        intra_op: { allow_spinning: settings.spinning ? '1' : '0' },
        // Weights in a second file are named relative to the model, which is given as bytes and so has no place.
        model_external_initializers_file_folder_path: dirname(spec.onnxPath),
      },
      // Its kernel takes five times as long as the layer normalization and addition it replaces.
      optimization: { disable_specified_optimizers: 'SkipLayerNormFusion' },
    },
  };
}
