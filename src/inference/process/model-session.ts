import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { messageOf } from '../../errors.ts';
import { EngineError } from '../backend/engine-error.ts';
import { type Device, deviceFor } from '../devices/device.ts';
import { endIfLost } from '../devices/lost-device.ts';
import type { RunSettings } from '../devices/run-settings.ts';
import { sessionOptions } from '../devices/session-options.ts';
import { checkExternalFiles } from '../onnx/external-data.ts';
import type { GraphPlan } from '../onnx/graph-appendix.ts';
import { planLogits } from '../onnx/logits-graph.ts';
import { readOutline } from '../onnx/onnx-outline.ts';
import { planPooling } from '../onnx/pooled-graph.ts';
import { finishLogits } from '../results/finish-logits.ts';
import { type BatchValues, finishVectors } from '../results/finish-vectors.ts';
import { type BatchTokens, longestOf } from '../wire/batch-tokens.ts';
import type { SessionSpec } from '../wire/session-spec.ts';
import { feedsFor, KNOWN_INPUTS, type KnownInput } from './feeds.ts';

/** One model, loaded. Lives in the engine process only: `run` blocks the thread. */
export class ModelSession {
  readonly #session: InferenceSession;
  readonly #graph: GraphPlan;
  readonly #output: SessionSpec['output'];
  readonly #padTokenId: number;
  readonly #device: Device;
  /** The model's inputs and whether they are int32 (else int64, as usual). */
  readonly #inputs: ReadonlyMap<KnownInput, boolean>;

  private constructor(session: InferenceSession, graph: GraphPlan, spec: SessionSpec, device: Device) {
    this.#session = session;
    this.#graph = graph;
    this.#output = spec.output;
    this.#padTokenId = spec.padTokenId;
    this.#device = device;
    this.#inputs = inputsOf(session, spec);
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
    try {
      const outline = readOutline(bytes);
      checkExternalFiles(outline.externalFiles, dirname(spec.onnxPath));
      device = deviceFor(outline, settings.device);
      graph =
        spec.output === 'vector'
          ? planPooling(outline, spec.pooling, spec.usePooledOutput)
          : planLogits(outline, spec.output);
      const model = graph.appendix ? Buffer.concat([bytes, graph.appendix]) : bytes;
      session = await InferenceSession.create(model, sessionOptions(spec.onnxPath, { ...settings, device }));
    } catch (error) {
      throw loadError(spec, `cannot be loaded: ${messageOf(error)}`, error);
    }
    const loaded = new ModelSession(session, graph, spec, device);
    await loaded.#checkOutput(spec);
    return loaded;
  }

  /**
   * The numbers of a batch's rows.
   * @param normalize whether vectors are scaled to length 1; of no meaning for logits
   * @throws what ONNX Runtime raises.
   */
  async run(batch: BatchTokens, normalize: boolean): Promise<BatchValues> {
    const { lengths } = batch;
    const output = await this.#runGraph(batch).catch(async (error: unknown) => {
      await endIfLost(this.#device, () => this.#runPadding(1));
      throw error;
    });
    return this.#output === 'vector'
      ? finishVectors(output, lengths, { normalize, divisor: this.#graph.divisor })
      : finishLogits(output, lengths, longestOf(lengths), this.#output === 'token-logits');
  }

  async #runGraph(batch: BatchTokens): Promise<Float32Array> {
    const feeds = feedsFor(batch, this.#inputs, this.#padTokenId);
    const results = await this.#session.run(feeds, [this.#graph.output]);
    const data = results[this.#graph.output]?.data;
    if (!(data instanceof Float32Array)) {
      throw new Error(`its output ${this.#graph.output} is not float32`);
    }
    return data;
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
  async #checkOutput(spec: SessionSpec): Promise<void> {
    let one: number;
    let two: number;
    try {
      one = (await this.#runPadding(1)).length;
      two = (await this.#runPadding(2)).length;
    } catch (error) {
      throw loadError(spec, `cannot be run: ${messageOf(error)}`, error);
    }
    const size = one / (spec.output === 'token-logits' ? 2 : 1);
    const [what, expected] =
      spec.output === 'vector' ? ['dimensions', spec.dimensions] : ['labels', spec.labels];
    if (size !== expected) {
      throw loadError(spec, `gives ${size} ${what} where ${expected} are expected`);
    }
    if (two !== 2 * one) {
      throw loadError(spec, `gives ${one} numbers for one row and ${two} for two`);
    }
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
  if (session.inputNames.some((name) => name.startsWith('past_key_values'))) {
    throw loadError(
      spec,
      'is a decoder with a memory (past_key_values); pgembedder runs exports without one',
    );
  }
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
