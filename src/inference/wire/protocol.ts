import type { EngineErrorKind } from '../backend/engine-error.ts';
import type { Priority } from '../backend/priority.ts';
import type { RunSettings } from '../devices/run-settings.ts';
import type { BatchTokens } from './batch-tokens.ts';
import type { SessionSpec } from './session-spec.ts';

/** Settings of an engine process, given as its one argument (JSON) at the start. */
export interface EngineSettings extends RunSettings {
  /** The one session that it loads. */
  readonly session: SessionSpec;
}

/** Batches that may go before one that has waited for longer, until it has its turn. */
export const MOST_IN_A_ROW = 8;

/** Client to engine process: run a batch. Batches are run one by one, by priority, else as they arrive. */
export interface RunRequest extends BatchTokens {
  readonly type: 'run';
  readonly id: number;
  readonly priority: Priority;
  /** Whether vectors are to be scaled to length 1; says nothing to a session that gives logits. */
  readonly normalize: boolean;
}

/** What an error says when it crosses from one process to the other. */
export interface SentError {
  readonly kind: EngineErrorKind;
  readonly message: string;
  readonly hint: string | undefined;
}

/** Engine process to client. */
export type EngineReply =
  /** The process is up and begins to load its session: from here on the model is to blame for a death. */
  | { readonly type: 'loading' }
  /** The session is loaded and takes batches. */
  | { readonly type: 'ready'; readonly residentBytes: number }
  /** The session cannot be loaded; the process is of no use. */
  | ({ readonly type: 'unloadable' } & SentError)
  /** The batch is about to run: from here on it is to blame for a death. */
  | { readonly type: 'started'; readonly id: number }
  | {
      readonly type: 'result';
      readonly id: number;
      /** The numbers of all sequences, one after the other; see `SequenceResult`. */
      readonly values: Float32Array;
      /** How many of them are each sequence's, where that is not what the session's output says: of sparse vectors. */
      readonly sizes?: Int32Array;
      /** Sequences whose numbers are of no use. */
      readonly notFinite: readonly number[];
      /** What the run took, in ms. */
      readonly runMs: number;
      /** Memory of the process that is not swapped out. */
      readonly residentBytes: number;
    }
  | ({ readonly type: 'failed'; readonly id: number } & SentError);

const REPLY_TYPES = ['loading', 'ready', 'unloadable', 'started', 'result', 'failed'];

/** Looks at the discriminator only: both ends are built from the same sources. */
export function isEngineReply(message: unknown): message is EngineReply {
  return hasType(message) && REPLY_TYPES.includes(message.type);
}

/** The same for the other direction. */
export function isRunRequest(message: unknown): message is RunRequest {
  return hasType(message) && message.type === 'run';
}

function hasType(message: unknown): message is { type: string } {
  return (
    typeof message === 'object' && message !== null && 'type' in message && typeof message.type === 'string'
  );
}
