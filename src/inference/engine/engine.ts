import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import type { Logger } from 'pino';
import type {
  FindOptions,
  LocalModel,
  ModelDescription,
  RunnableModel,
} from '../../model-files/description.ts';
import { createModelStore, type ModelStore } from '../../models/store.ts';
import { packageRoot } from '../../package-root.ts';
import type { TextTokenizer } from '../../tasks/text-tokenizer.ts';
import type { Backend, BatchPlan } from '../backend/backend.ts';
import type { CallOptions, SequenceResult } from '../backend/run.ts';
import type { SessionOptions, SessionState } from '../backend/session.ts';
import { engineThreads } from '../devices/cores.ts';
import { cpu, type Device, deviceFor, deviceName } from '../devices/device.ts';
import { idsOf, secondFrom, type TokenSequence } from '../tokenizer/token-sequence.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import type { SessionSpec } from '../wire/session-spec.ts';
import { collectGarbage } from './collect-garbage.ts';
import type { EngineEvents } from './engine-events.ts';
import { stopped } from './engine-failures.ts';
import { SessionHosts } from './session-hosts.ts';
import { specOf } from './session-spec.ts';
import { tokenBudgetOf } from './token-budget.ts';

export interface EngineOptions {
  readonly logger: Logger;
  /** Where it finds models. By default there are those that come with the package. */
  readonly models?: ModelStore;
  /** The module that a process runs; tests give one with faults. */
  readonly entry?: string;
  /** What runs the models, as `chooseDevice` gives it; by default the CPU. */
  readonly device?: Device;
  /** Most processes of one session. By default one for each core, up to 4, and one on a GPU (`engineThreads`). */
  readonly engines?: number | undefined;
  /** Threads a run uses; by default the cores divided by `engines`. */
  readonly threads?: number | undefined;
  /**
   * Whether these threads spin while they wait for the next operator. It shortens a run a little when the machine
   * is otherwise idle and takes the CPU from everybody else (Postgres) when it is not; off by default.
   */
  readonly spinning?: boolean;
  /** A batch that runs for longer is given up and the process killed. Default: 120,000. */
  readonly runTimeoutMs?: number;
  /** A model that loads for longer is given up and the process killed. Default: 300,000. */
  readonly loadTimeoutMs?: number;
  /** A session that had nothing to do for so long is unloaded. Default: 600,000. */
  readonly idleMs?: number | undefined;
  /** Above this much memory of all processes, sessions without work are unloaded, the longest unused first. */
  readonly memoryLimitBytes?: number | undefined;
}

/** How a session is run: in which batches, on what, by how many processes of how many threads. */
export interface Plan extends BatchPlan {
  readonly device: Device;
  readonly engines: number;
  readonly threads: number;
}

/** Longest wait for a batch, in ms. A batch of the default budget takes 30 ms, the longest text about a second. */
const DEFAULT_RUN_TIMEOUT_MS = 120_000;

/** A large model may come over a network. */
const DEFAULT_LOAD_TIMEOUT_MS = 300_000;

const DEFAULT_IDLE_MS = 600_000;

/**
 * The engine of this machine: runs ONNX models in processes of their own, so that a crash of native code or the kernel's
 * out-of-memory killer costs one batch and not the worker, and memory goes back to the system when a session is not needed.
 */
export class Engine
  extends EventEmitter<EngineEvents>
  implements Backend<LocalModel, SessionSpec, TokenSequence>
{
  readonly #options: EngineOptions;
  readonly #models: ModelStore;
  readonly #hosts: SessionHosts;
  /** By file and limit: an entry is a few MB and takes 50 ms to make. */
  readonly #tokenizers = new Map<string, TextTokenizer<TokenSequence>>();
  #stopping: Promise<void> | undefined;

  constructor(options: EngineOptions) {
    super();
    this.#options = options;
    this.#models = options.models ?? createModelStore({ directories: [] });
    this.#hosts = new SessionHosts(options.memoryLimitBytes, options.logger, (spec) =>
      this.#hostOptions(spec),
    );
    this.on('loaded', () => this.#hosts.keepToLimit());
    this.on('batch', () => this.#hosts.keepToLimit());
    this.on('unloaded', () => {
      if (this.pids.length === 0) void collectGarbage();
    });
  }

  /** @throws UserError also when there is no model of this name: whoever asks has asked the others before */
  find(name: string, task: string | undefined, options?: FindOptions): ModelDescription {
    return this.#models.find(name, task, options);
  }

  runs(model: RunnableModel): model is LocalModel {
    return 'onnxPath' in model;
  }

  /** Models of this machine are for every pipeline. */
  admit(): void {}

  tokenizer(model: LocalModel): TextTokenizer<TokenSequence> {
    const key = `${model.directory}#${model.maxTokens}#${model.expectedSha256}`;
    const tokenizer = this.#tokenizers.get(key) ?? loadTokenizer(model);
    this.#tokenizers.set(key, tokenizer);
    return tokenizer;
  }

  tokensOf(sequence: TokenSequence): number {
    return idsOf(sequence).length;
  }

  identityOf(sequence: TokenSequence): string {
    const { buffer, byteOffset, byteLength } = idsOf(sequence);
    const tokens = Buffer.from(buffer, byteOffset, byteLength).toString('latin1');
    return sequence instanceof Int32Array ? tokens : `${secondFrom(sequence)} ${tokens}`;
  }

  open(model: LocalModel, options?: SessionOptions): SessionSpec {
    return specOf(model, options);
  }

  planOf(session: SessionSpec): Plan {
    const { variant } = session;
    const device = deviceFor({ int8: variant === 'q8' }, this.#options.device ?? cpu);
    const { engines, threads } = engineThreads(this.#options, device.kind === 'cpu');
    return {
      device,
      engines,
      threads,
      tokenBudget: tokenBudgetOf(device, session),
      mostSequences: Number.POSITIVE_INFINITY,
    };
  }

  /** Process ids of all sessions. */
  get pids(): number[] {
    return this.#hosts.all.flatMap(({ pids }) => pids);
  }

  /** Batches that wait or run. */
  get pending(): number {
    return this.#hosts.all.reduce((sum, host) => sum + host.pending, 0);
  }

  get sessions(): SessionState[] {
    return this.#hosts.all.map(({ spec, state, pids, residentBytes, pending }) => ({
      key: spec.key,
      model: spec.model,
      device: deviceName(this.planOf(spec).device),
      state,
      pids,
      residentBytes,
      pending,
    }));
  }

  run(
    session: SessionSpec,
    sequences: readonly TokenSequence[],
    options: CallOptions = {},
  ): Promise<SequenceResult[]> {
    if (this.#stopping) {
      return Promise.reject(stopped());
    }
    if (sequences.length === 0) {
      return Promise.resolve([]);
    }
    return this.#hosts.of(session).run(session, sequences, options);
  }

  /** Resolves when no process is left. */
  stop(graceMs = 5_000): Promise<void> {
    this.#stopping ??= Promise.all(this.#hosts.all.map((host) => host.stop(graceMs))).then(() => {});
    return this.#stopping;
  }

  /**
   * Ends the processes that have nothing to do, which gives all their memory back; the next batch starts another.
   * Returns whether there were any.
   */
  async unload(): Promise<boolean> {
    const unloaded = await Promise.all(this.#hosts.all.map((host) => host.unload()));
    return unloaded.some(Boolean);
  }

  #hostOptions(spec: SessionSpec) {
    const { device, engines, threads, tokenBudget } = this.planOf(spec);
    const options = this.#options;
    return {
      entry: options.entry ?? join(packageRoot, 'dist', 'inference', 'process', 'engine-process.js'),
      settings: { device, threads, spinning: options.spinning ?? false, session: spec },
      processes: engines,
      sharedTokens: tokenBudget,
      runTimeoutMs: options.runTimeoutMs ?? DEFAULT_RUN_TIMEOUT_MS,
      loadTimeoutMs: options.loadTimeoutMs ?? DEFAULT_LOAD_TIMEOUT_MS,
      idleMs: options.idleMs ?? DEFAULT_IDLE_MS,
      logger: options.logger,
      events: this,
    };
  }
}
