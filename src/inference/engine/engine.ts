import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import type { Logger } from 'pino';
import { packageRoot } from '../../package-root.ts';
import type { CallOptions, RowResult, Sequence, SessionSpec } from '../backend/types.ts';
import { engineThreads } from '../devices/cores.ts';
import { cpu, type Device, deviceFor, deviceName } from '../devices/device.ts';
import { collectGarbage } from './collect-garbage.ts';
import type { EngineEvents } from './engine-events.ts';
import { stopped } from './engine-failures.ts';
import { cpuTokenBudget, gpuTokenBudget } from './first-budgets.ts';
import { SessionHost } from './session-host.ts';

export interface EngineOptions {
  readonly logger: Logger;
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

/** A session as it is at the moment. */
export interface SessionState {
  readonly key: string;
  readonly model: string;
  /** As a setting has it: `cpu`, `cuda:1`. */
  readonly device: string;
  readonly state: 'unloaded' | 'loading' | 'loaded';
  /** Its processes. */
  readonly pids: readonly number[];
  /** Memory of these processes, as they said last. */
  readonly residentBytes: number;
  /** Batches that wait or run. */
  readonly pending: number;
}

/** Longest wait for a batch, in ms. A batch of the default budget takes 30 ms, the longest text about a second. */
const defaultRunTimeoutMs = 120_000;

/** How a session is run: on what, by how many processes of how many threads. */
export interface Plan {
  readonly device: Device;
  readonly engines: number;
  readonly threads: number;
  /** Tokens in a batch to begin with. */
  readonly tokenBudget: number;
  /** Names all of this; what was measured with one holds for it alone. */
  readonly profile: string;
}

/** A large model may come over a network. */
const defaultLoadTimeoutMs = 300_000;

const defaultIdleMs = 600_000;

/**
 * The engine: runs batches in processes of their own, so that a crash of native code or the kernel's out-of-memory
 * killer costs one batch and not the worker, and memory goes back to the system when a session is not needed.
 */
export class Engine extends EventEmitter<EngineEvents> {
  readonly logger: Logger;
  readonly #options: EngineOptions;
  readonly #hosts = new Map<string, SessionHost>();
  #overLimit = false;
  #stopping: Promise<void> | undefined;

  constructor(options: EngineOptions) {
    super();
    this.logger = options.logger;
    this.#options = options;
    this.on('loaded', () => this.#keepToLimit());
    this.on('batch', () => this.#keepToLimit());
    this.on('unloaded', () => {
      if (this.pids.length === 0) void collectGarbage();
    });
  }

  /** Process ids of all sessions. */
  get pids(): number[] {
    return [...this.#hosts.values()].flatMap(({ pids }) => pids);
  }

  /** Batches that wait or run. */
  get pending(): number {
    return [...this.#hosts.values()].reduce((sum, host) => sum + host.pending, 0);
  }

  /** Every session that was ever asked for. */
  get sessions(): SessionState[] {
    return [...this.#hosts.values()].map(({ spec, state, pids, residentBytes, pending }) => ({
      key: spec.key,
      model: spec.model,
      device: deviceName(this.planOf(spec).device),
      state,
      pids,
      residentBytes,
      pending,
    }));
  }

  /**
   * Runs a batch.
   * @param sequences token ids, special tokens included, one a row; none may be empty
   * @returns for each row its numbers, as the session's output has them, or an EngineError of kind `not-finite`. Rows
   *   of a batch share one buffer: copy one that is to be kept for long.
   * Rejects with an EngineError of any other kind when there is nothing for any of the rows.
   */
  run(session: SessionSpec, sequences: readonly Sequence[], options: CallOptions = {}): Promise<RowResult[]> {
    if (this.#stopping) {
      return Promise.reject(stopped());
    }
    if (sequences.length === 0) {
      return Promise.resolve([]);
    }
    return this.#hostOf(session).run(session, sequences, options);
  }

  /**
   * Ends the engine for good. What waits is rejected with `stopped`; what runs may end within `graceMs`.
   * Resolves when no process is left.
   */
  stop(graceMs = 5_000): Promise<void> {
    this.#stopping ??= Promise.all([...this.#hosts.values()].map((host) => host.stop(graceMs))).then(
      () => {},
    );
    return this.#stopping;
  }

  /**
   * Ends the processes that have nothing to do, which gives all their memory back; the next batch starts another.
   * Returns whether there were any.
   */
  async unload(): Promise<boolean> {
    const unloaded = await Promise.all([...this.#hosts.values()].map((host) => host.unload()));
    return unloaded.some(Boolean);
  }

  /** How a session is run. */
  planOf({ variant }: SessionSpec): Plan {
    const device = deviceFor({ int8: variant === 'q8' }, this.#options.device ?? cpu);
    const onCpu = device.kind === 'cpu';
    const { engines, threads } = engineThreads(this.#options, onCpu);
    return {
      device,
      engines,
      threads,
      tokenBudget: onCpu ? cpuTokenBudget : gpuTokenBudget,
      profile: `${deviceName(device)} ${engines}x${threads}`,
    };
  }

  #hostOf(spec: SessionSpec): SessionHost {
    const known = this.#hosts.get(spec.key);
    if (known) return known;
    // A file may be exchanged while a worker runs: what was known of the one before is of no use any more.
    for (const [key, { spec: other, state, pending }] of this.#hosts) {
      if (other.onnxPath === spec.onnxPath && state === 'unloaded' && pending === 0) this.#hosts.delete(key);
    }
    const { device, engines, threads, tokenBudget } = this.planOf(spec);
    const options = this.#options;
    const host = new SessionHost(spec, {
      entry: options.entry ?? join(packageRoot, 'dist', 'inference', 'process', 'engine-process.js'),
      settings: { device, threads, spinning: options.spinning ?? false, session: spec },
      processes: engines,
      sharedTokens: tokenBudget,
      runTimeoutMs: options.runTimeoutMs ?? defaultRunTimeoutMs,
      loadTimeoutMs: options.loadTimeoutMs ?? defaultLoadTimeoutMs,
      idleMs: options.idleMs ?? defaultIdleMs,
      logger: this.logger,
      events: this,
    });
    this.#hosts.set(spec.key, host);
    return host;
  }

  /**
   * Unloads sessions without work, the longest unused first, until the others keep to the limit. The one that was used
   * last stays: it would be loaded again at once.
   */
  #keepToLimit(): void {
    const limit = this.#options.memoryLimitBytes ?? Number.POSITIVE_INFINITY;
    const hosts = [...this.#hosts.values()].sort((a, b) => a.usedAt - b.usedAt);
    let bytes = hosts.reduce((sum, { residentBytes }) => sum + residentBytes, 0);
    for (const host of hosts.slice(0, -1).filter(({ pending }) => pending === 0)) {
      if (bytes <= limit) break;
      bytes -= host.residentBytes;
      void host.unload();
    }
    const over = bytes > limit;
    if (over && !this.#overLimit) {
      this.logger.warn(
        { bytes, limit },
        'the engine takes more memory than its limit, and can unload nothing',
      );
    }
    this.#overLimit = over;
  }
}
