// What the dashboard is given, as JSON. It imports these types, and so this file holds nothing else.

/** A server and its database at one moment. */
export interface Shown {
  /** When it was read; ISO 8601. */
  readonly at: string;
  readonly version: string;
  /** The state of the worker that serves. */
  readonly worker: string;
  /** Whether it has a database: `pgembedder serve` has none, and so no pipelines and workers. */
  readonly database: boolean;
  /** Why there are no pipelines to be seen, in one line; null where the database answered. */
  readonly problem: string | null;
  readonly pipelines: readonly ShownPipeline[];
  readonly workers: readonly ShownWorker[];
  readonly models: readonly ShownModel[];
  readonly endpoints: readonly ShownEndpoint[];
}

/** A row of embedder.status, in numbers: durations are seconds. */
export interface ShownPipeline {
  readonly name: string;
  readonly source: string;
  readonly task: string;
  readonly model: string;
  readonly generation: number;
  readonly state: 'paused' | 'error' | 'filling' | 'live';
  readonly error: string | null;
  readonly warning: string | null;
  /** Null while it is being counted. */
  readonly sourceRows: number | null;
  readonly embeddedRows: number | null;
  readonly staleRows: number | null;
  readonly pending: number;
  readonly leased: number;
  readonly failed: number;
  /** From 0 to 1. */
  readonly coverage: number | null;
  readonly oldestDueSeconds: number | null;
  readonly rowsPerSecond: number;
  readonly secondsLeft: number | null;
  readonly index: string;
  readonly next: ShownGeneration | null;
  /** Rows done in each of the last minutes, the newest last; at most 60, and none from before this server started. */
  readonly minutes: readonly number[];
  /** Null where it may not be searched over HTTP; else what a search takes beside a text, by names. */
  readonly search: { readonly filters: readonly string[]; readonly settings: readonly string[] } | null;
}

/** A generation that is being filled beside the live one. */
export interface ShownGeneration {
  readonly generation: number;
  readonly model: string;
  readonly coverage: number | null;
  readonly state: string;
}

export interface ShownWorker {
  readonly id: number;
  readonly host: string;
  readonly pid: number;
  readonly version: string;
  readonly state: 'working' | 'idle' | 'silent';
  readonly listening: boolean;
  readonly startedAt: string;
  readonly note: string | null;
}

/** A model of the worker that serves. */
export interface ShownModel {
  readonly name: string;
  readonly device: string;
  readonly state: 'unloaded' | 'loading' | 'loaded';
  readonly memoryBytes: number;
  readonly processes: number;
  readonly pendingBatches: number;
}

/** A server elsewhere that runs models, as this server has found it since it started. */
export interface ShownEndpoint {
  readonly name: string;
  readonly models: readonly string[];
  /** waiting: it takes nothing for a while, by its own word or since a limit that was set is used up. */
  readonly state: 'unused' | 'answering' | 'refusing' | 'waiting';
  /** Of a wait; else null. */
  readonly secondsLeft: number | null;
  readonly requests: number;
  /** Those that did not give what was asked. */
  readonly refused: number;
  readonly tokens: number;
  readonly waits: number;
  /** How the last request ended: a status, `timeout`, `broken` or `unreachable`. */
  readonly last: { readonly outcome: string; readonly at: string } | null;
}

/** A pipeline, for a page of its own. */
export interface ShownDetails {
  readonly name: string;
  readonly generations: readonly ShownDeclaration[];
  /** The newest ones, at most 100. */
  readonly failed: readonly ShownFailure[];
}

/** One generation of a pipeline as it was declared: what of it is shown, by its name in SQL. */
export interface ShownDeclaration {
  readonly generation: number;
  readonly live: boolean;
  readonly declaration: Readonly<Record<string, string | number | boolean | null>>;
}

export interface ShownFailure {
  readonly rowKey: string;
  readonly attempts: number;
  readonly error: string | null;
  readonly failedAt: string;
}

/** What can be done with a pipeline. */
export type Action = 'pause' | 'resume' | 'backfill' | 'retry' | 'cutover';
