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

/** What a backend tells: all of batches, one with processes of those, one that asks servers elsewhere of its requests. */
export interface BackendEvents {
  /** A batch was run. */
  batch: [BatchReport];
  /** A process was started, for a model. */
  started: [{ pid: number | undefined; model: string }];
  /** Its model is loaded; since the start it took `loadMs`. */
  loaded: [{ pid: number | undefined; model: string; loadMs: number }];
  /** A process ended that nobody asked to end. */
  died: [ProcessDeath];
  /** A request was sent to an endpoint; its status, or `timeout`, `broken`, `unreachable`. */
  request: [{ endpoint: string; outcome: string }];
  /** An endpoint has counted the tokens of a request; where it does not say, about as many as there were. */
  counted: [{ endpoint: string; model: string; tokens: number }];
  /** An endpoint takes nothing for a while: by its own status, or since the limit that was set is used up. */
  wait: [{ endpoint: string; reason: 'limit' | '429' | '503'; ms: number }];
}
