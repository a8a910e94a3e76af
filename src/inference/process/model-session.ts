import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InferenceSession, type Tensor } from 'onnxruntime-node';
import { messageOf } from '../../errors.ts';
import { EngineError } from '../backend/engine-error.ts';
import { type Device, deviceFor } from '../devices/device.ts';
import { endIfLost } from '../devices/lost-device.ts';
import type { RunSettings } from '../devices/run-settings.ts';
import { sessionOptions } from '../devices/session-options.ts';
import { checkExternalFiles } from '../onnx/external-data.ts';
import { type GraphPlan, noDivisor } from '../onnx/graph-appendix.ts';
import { planLogits } from '../onnx/logits-graph.ts';
import { type OnnxOutline, readOutline } from '../onnx/onnx-outline.ts';
import { mayBeVocabulary, planPooling } from '../onnx/pooled-graph.ts';
import { planSparse } from '../onnx/sparse-graph.ts';
import { finishLogits } from '../results/finish-logits.ts';
import { finishSparse, type SparseValues } from '../results/finish-sparse.ts';
import { type BatchValues, finishVectors } from '../results/finish-vectors.ts';
import { applySteps, loadSteps, type Step } from '../results/vector-steps.ts';
import { type BatchTokens, longestOf } from '../wire/batch-tokens.ts';
import type { SessionSpec } from '../wire/session-spec.ts';
import { emptyMemory, feedsFor, KNOWN_INPUTS, type KnownInput } from './feeds.ts';

/** An input of a decoder's memory. */
interface Memory {
  readonly name: string;
  readonly type: Tensor.Type;
  readonly shape: readonly (number | string)[];
}

/** One model, loaded. Lives in the engine process only: `run` blocks the thread. */
export class ModelSession {
  readonly #session: InferenceSession;
  readonly #graph: GraphPlan;
  /** What is done with its vectors; none where it gives finished ones. */
  readonly #steps: readonly Step[];
  readonly #spec: SessionSpec;
  readonly #padTokenId: number;
  readonly #device: Device;
  /** The model's inputs and whether they are int32 (else int64, as usual). */
  readonly #inputs: ReadonlyMap<KnownInput, boolean>;
  readonly #memory: readonly Memory[];

  private constructor(
    session: InferenceSession,
    graph: GraphPlan,
    steps: readonly Step[],
    spec: SessionSpec,
    device: Device,
  ) {
    this.#session = session;
    this.#graph = graph;
    this.#steps = steps;
    this.#spec = spec;
    this.#padTokenId = spec.padTokenId;
    this.#device = device;
    this.#inputs = inputsOf(session, spec);
    this.#memory = memoryOf(session, spec);
  }

  /**
   * Reads the ONNX file, checks it, adds what it lacks and makes the session of just the bytes that were checked.
   * @throws EngineError of kind `load`.
   */
  static async load(spec: SessionSpec, settings: RunSettings): Promise<ModelSession> {
    const bytes = await readModel(spec);
    let session: InferenceSession;
    let graph: GraphPlan;
    let device: Device;
    let outline: OnnxOutline;
    let steps: readonly Step[] = [];
    try {
      outline = readOutline(bytes);
      checkExternalFiles(outline.externalFiles, dirname(spec.onnxPath));
      device = deviceFor(outline, settings.device);
      graph = planOf(outline, spec);
      if (spec.output === 'vector' && !graph.finished) steps = loadSteps(spec.steps);
      const model = graph.appendix ? Buffer.concat([bytes, graph.appendix]) : bytes;
      session = await InferenceSession.create(model, sessionOptions(spec.onnxPath, { ...settings, device }));
    } catch (error) {
      throw loadError(spec, `cannot be loaded: ${messageOf(error)}`, error);
    }
    const loaded = new ModelSession(session, graph, steps, spec, device);
    await loaded.#checkOutput(spec, mayBeVocabulary(outline));
    return loaded;
  }

  /**
   * The numbers of a batch's rows.
   * @param normalize whether vectors are scaled to length 1; of no meaning for logits
   * @throws what ONNX Runtime raises.
   */
  async run(batch: BatchTokens, normalize: boolean): Promise<BatchValues | SparseValues> {
    const { lengths } = batch;
    const spec = this.#spec;
    const output = await this.#runGraph(batch).catch(async (error: unknown) => {
      await endIfLost(this.#device, () => this.#runPadding(1));
      throw error;
    });
    if (spec.output === 'vector') return this.#finishVectors(output, lengths, normalize);
    if (spec.output === 'sparse') return finishSparse(output, lengths.length, spec);
    return finishLogits(output, lengths, longestOf(lengths), spec.output === 'token-logits');
  }

  #finishVectors(output: Float32Array, lengths: Int32Array, normalize: boolean): BatchValues {
    const { divisor } = this.#graph;
    if (this.#steps.length === 0) return finishVectors(output, lengths, { normalize, divisor });
    const pooled = finishVectors(output, lengths, { normalize: false, divisor }).values;
    const changed = applySteps(pooled, lengths.length, this.#steps);
    return finishVectors(changed, lengths, { normalize, divisor: noDivisor });
  }

  async #runGraph(batch: BatchTokens): Promise<Float32Array> {
    const feeds = feedsFor(batch, this.#inputs, this.#padTokenId);
    for (const { name, type, shape } of this.#memory)
      feeds[name] = emptyMemory(type, shape, batch.lengths.length);
    const results = await this.#session.run(feeds, [this.#graph.output]);
    const data = results[this.#graph.output]?.data;
    if (!(data instanceof Float32Array)) {
      throw new Error(`its output ${this.#graph.output} is not float32`);
    }
    return data;
  }

  /** How many numbers come of an output of so many rows. */
  #lengthOf(output: Float32Array, rows: number): number {
    return this.#steps.length === 0 ? output.length : applySteps(output, rows, this.#steps).length;
  }

  /** Runs rows of two padding tokens. */
  #runPadding(rows: number): Promise<Float32Array> {
    const lengths = new Int32Array(rows).fill(2);
    const ids = new Int32Array(2 * rows).fill(this.#padTokenId);
    return this.#runGraph({ lengths, ids, secondFrom: null });
  }

  /**
   * The cheapest way to learn what the model really gives, and its first warm-up. One row and two, since an output that
   * does not grow with the batch would be cut into pieces that are not vectors.
   */
  async #checkOutput(spec: SessionSpec, vocabulary: boolean): Promise<void> {
    let one: number;
    let two: number;
    try {
      one = this.#lengthOf(await this.#runPadding(1), 1);
      two = this.#lengthOf(await this.#runPadding(2), 2);
    } catch (error) {
      throw loadError(spec, `cannot be run: ${messageOf(error)}`, error);
    }
    const size = one / (spec.output === 'token-logits' ? 2 : 1);
    const [what, expected] = 'dimensions' in spec ? ['dimensions', spec.dimensions] : ['labels', spec.labels];
    if (size !== expected) {
      const why = vocabulary
        ? ': its output logits is a number for each token of the vocabulary, as masked language models and SPLADE give it'
        : '';
      throw loadError(spec, `gives ${size} ${what} where ${expected} are expected${why}`);
    }
    if (two !== 2 * one) {
      throw loadError(spec, `gives ${one} numbers for one row and ${two} for two`);
    }
  }
}

/** @throws Error when the file has no output of the kind that is needed */
function planOf(outline: OnnxOutline, spec: SessionSpec): GraphPlan {
  if (spec.output === 'vector')
    return planPooling(outline, spec.pooling, spec.usePooledOutput, spec.steps.length > 0);
  return spec.output === 'sparse' ? planSparse(outline, spec) : planLogits(outline, spec.output);
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
  const unknown = session.inputNames.filter((name) => !isKnownInput(name) && !isMemory(name));
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

/** What a decoder is given of the tokens before: keys and values for each of its layers, empty here. */
function memoryOf(session: InferenceSession, spec: SessionSpec): Memory[] {
  return session.inputMetadata.flatMap((input) => {
    if (!isMemory(input.name)) return [];
    if (
      !input.isTensor ||
      input.shape.length !== 4 ||
      [1, 3].some((axis) => typeof input.shape[axis] !== 'number')
    )
      throw loadError(spec, `has the input ${input.name} in a shape that pgembedder does not know`);
    return [{ name: input.name, type: input.type, shape: input.shape }];
  });
}

function isMemory(name: string): boolean {
  return /^past_key_values\./.test(name);
}

function isKnownInput(name: string): name is KnownInput {
  return KNOWN_INPUTS.some((known) => known === name);
}

function loadError(spec: SessionSpec, problem: string, cause?: unknown): EngineError {
  return new EngineError('load', `Model '${spec.model}': ${spec.onnxPath} ${inOneLine(problem)}`, {
    hint: 'Fetch the model again or choose another one',
    cause,
  });
}

/** Most characters of a problem: ONNX Runtime may add whole shapes and signatures. */
const LONGEST_PROBLEM = 500;

/** A problem as ONNX Runtime tells it, in one line and without the place in its own sources. */
function inOneLine(problem: string): string {
  return problem
    .replace(/\/onnxruntime_src\/\S+:\d+ [^)]*\)(?: const)? /g, '')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, LONGEST_PROBLEM);
}
