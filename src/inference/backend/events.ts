import type { Priority } from './priority.ts';

/** What there is to say of a batch that was run. */
export interface BatchReport {
  /** Key and model of the session. */
  readonly session: string;
  readonly model: string;
  readonly priority: Priority;
  /** Its sequences. */
  readonly rows: number;
  /** Their tokens, special tokens included, and what they came to with padding. */
  readonly tokens: number;
  readonly paddedTokens: number;
  /** From the moment it was asked for until it was with the process, and what the run itself took; in ms. */
  readonly waitMs: number;
  readonly runMs: number;
}

/** How far a process has come: before its model, while it loads it, or with it loaded. */
export type Phase = 'starting' | 'loading' | 'ready';

/** A process that ended though nobody asked it to: by a signal or with an exit code. */
export interface ProcessDeath {
  readonly pid: number | undefined;
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
  readonly model: string;
  readonly phase: Phase;
}

/** What a backend tells. One without processes of its own only tells of batches. */
export interface BackendEvents {
  /** A batch was run. */
  batch: [BatchReport];
  /** A process was started, for a model. */
  started: [{ pid: number | undefined; model: string }];
  /** Its model is loaded; since the start it took `loadMs`. */
  loaded: [{ pid: number | undefined; model: string; loadMs: number }];
  /** A process ended that nobody asked to end. */
  died: [ProcessDeath];
}
