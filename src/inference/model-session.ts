import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import { InferenceSession } from 'onnxruntime-node';
import { messageOf } from '../errors.ts';
import { EngineError } from './engine-error.ts';
import { checkExternalFiles } from './external-data.ts';
import { type BatchTokens, feedsFor, type KnownInput, knownInputs } from './feeds.ts';
import { finishLogits } from './finish-logits.ts';
import { type BatchValues, finishVectors } from './finish-vectors.ts';
import type { GraphPlan } from './graph-appendix.ts';
import { planLogits } from './logits-graph.ts';
import { longestOf } from './longest.ts';
import { readOutline } from './onnx-outline.ts';
import { planPooling } from './pooled-graph.ts';
import type { EngineSettings } from './protocol.ts';
import type { SessionSpec } from './types.ts';

/** One model, loaded. Lives in the engine process only: `run` blocks the thread. */
export class ModelSession {
  readonly #session: InferenceSession;
  readonly #graph: GraphPlan;
  readonly #padTokenId: number;
  /** The model's inputs and whether they are int32 (else int64, as usual). */
  readonly #inputs: ReadonlyMap<KnownInput, boolean>;

  private constructor(session: InferenceSession, graph: GraphPlan, spec: SessionSpec) {
    this.#session = session;
    this.#graph = graph;
    this.#padTokenId = spec.padTokenId;
    this.#inputs = inputsOf(session, spec);
  }

  /**
   * Reads the ONNX file, checks it, adds what it lacks and makes the session of just the bytes that were checked.
   * Raises EngineError of kind `load`.
   */
  static async load(spec: SessionSpec, settings: EngineSettings): Promise<ModelSession> {
    const bytes = await readModel(spec);
    let session: InferenceSession;
    let graph: GraphPlan;
    try {
      const outline = readOutline(bytes);
      checkExternalFiles(outline.externalFiles, dirname(spec.onnxPath));
      graph =
        spec.output === 'vector'
          ? planPooling(outline, spec.pooling, spec.usePooledOutput)
          : planLogits(outline, spec.output);
      const model = graph.appendix ? Buffer.concat([bytes, graph.appendix]) : bytes;
      session = await InferenceSession.create(model, sessionOptions(spec, settings));
    } catch (error) {
      throw loadError(spec, `cannot be loaded: ${messageOf(error)}`, error);
    }
    const loaded = new ModelSession(session, graph, spec);
    await loaded.#checkOutput(spec);
    return loaded;
  }

  /**
   * The numbers of a batch's rows, made as `spec` says: one that has the key this session was loaded with.
   * Raises what ONNX Runtime raises.
   */
  async run(batch: BatchTokens, spec: SessionSpec): Promise<BatchValues> {
    const { lengths } = batch;
    const output = await this.#runGraph(batch);
    return spec.output === 'vector'
      ? finishVectors(output, lengths, { normalize: spec.normalize, divisor: this.#graph.divisor })
      : finishLogits(output, lengths, longestOf(lengths), spec.output === 'token-logits');
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

  /**
   * Runs padding tokens: the cheapest way to learn what the model really gives, and its first warm-up. Two rows of two
   * tokens, since an output that does not grow with the batch would be cut into pieces that are not vectors.
   */
  async #checkOutput(spec: SessionSpec): Promise<void> {
    const run = async (rows: number) => {
      const lengths = new Int32Array(rows).fill(2);
      const ids = new Int32Array(2 * rows).fill(this.#padTokenId);
      return (await this.#runGraph({ lengths, ids, secondFrom: null })).length;
    };
    let one: number;
    let two: number;
    try {
      one = await run(1);
      two = await run(2);
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
  return knownInputs.some((known) => known === name);
}

function loadError(spec: SessionSpec, problem: string, cause?: unknown): EngineError {
  return new EngineError('load', `Model '${spec.model}': ${spec.onnxPath} ${inOneLine(problem)}`, {
    hint: 'Fetch the model again or choose another one',
    cause,
  });
}

/** Most characters of a problem: ONNX Runtime may add whole shapes and signatures. */
const longestProblem = 500;

/** A problem as ONNX Runtime tells it, in one line and without the place in its own sources. */
function inOneLine(problem: string): string {
  return problem
    .replace(/\/onnxruntime_src\/\S+:\d+ [^)]*\)(?: const)? /g, '')
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, longestProblem);
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
