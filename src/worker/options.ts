import type { Logger } from 'pino';
import type { Connection } from '../database/database.ts';
import type { Endpoint } from '../endpoints/endpoint.ts';
import type { EngineSettings } from '../inference/open-embedder.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import type { Variant } from '../model-files/variants.ts';
import type { Backoff } from '../queue/jobs.ts';
import type { QuietIdle } from './quiet.ts';

/** How a worker works; only the connection and the logger must be given. */
export interface WorkerOptions {
  readonly connection: Connection;
  readonly logger: Logger;
  /** Folders of models, searched before the bundled ones. Default: where `pgembedder models pull` puts them. */
  readonly modelDirectories?: readonly string[];
  /** The variant to use of a model, by the model's name. Default: the one that runs best here. */
  readonly pinnedVariants?: ReadonlyMap<string, Variant>;
  /**
   * What runs the models: 'auto' (default), 'cpu', 'cuda', 'cuda:1', 'webgpu', 'coreml' or 'dml'. A device that is
   * named and does not work is an error of `start` and `drain`; 'auto' takes the CPU when no GPU is worth it.
   */
  readonly device?: string;
  /** Engine processes, their memory and their end; see `EngineOptions`. */
  readonly engine?: EngineSettings;
  /** Servers elsewhere that run models, as `readEndpoints` gives them. Default: none. */
  readonly endpoints?: readonly Endpoint[] | undefined;
  /** Most tokens of a batch, padding included. Default: 1,024 on a CPU. */
  readonly tokenBudget?: number | undefined;
  /** Rows claimed at once and sorted by length. Default: 2,048. */
  readonly window?: number;
  /** How long a claim holds. Default: 60 s; renewed while the rows are worked on. */
  readonly leaseSeconds?: number;
  /** What spares a serverless database: how the worker is quiet while it has nothing to do. Default: it never is. */
  readonly quietIdle?: QuietIdle | undefined;
  /** How long `stop` waits for batches under way. Default: 20 s. */
  readonly stopSeconds?: number;
  /** How long a failed row waits for its next attempt. Default: 2 s, doubled each time, at most 600 s. */
  readonly backoff?: Backoff;
  /** Takes the place of models, device and engine; for tests, and benchmarks of the queue alone. It is not stopped. */
  readonly embedder?: TextEmbedder;
}
