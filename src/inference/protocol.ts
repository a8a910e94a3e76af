import type { EngineErrorKind } from './engine-error.ts';
import type { SessionSpec } from './types.ts';

/** Settings of an engine process, given as its one argument (JSON) at the start. */
export interface EngineSettings {
  /** Threads a run uses. */
  readonly threads: number;
  /** Whether they wait for the next operator by spinning instead of sleeping. */
  readonly spinning: boolean;
}

/** Client to engine process: run a batch. Batches are run one by one, in the order they arrive. */
export interface RunRequest {
  readonly type: 'run';
  readonly id: number;
  readonly session: SessionSpec;
  /** Tokens of each row. */
  readonly lengths: Int32Array;
  /** The token ids of all rows, one row after the other. Two flat arrays cost less to send than one for each row. */
  readonly ids: Int32Array;
  /** For rows that are pairs: where the tokens of type 1 begin in each. Null when all tokens are of type 0. */
  readonly secondFrom: Int32Array | null;
}

/** Engine process to client. */
export type EngineReply =
  /** The process is up and takes batches. */
  | { readonly type: 'ready' }
  /** The session of this batch is about to be loaded: from here on its model is to blame for a death. */
  | { readonly type: 'loading'; readonly id: number }
  /** The session of this batch is loaded and the batch is about to run: from here on it is to blame for a death. */
  | { readonly type: 'started'; readonly id: number }
  | {
      readonly type: 'result';
      readonly id: number;
      /** The numbers of all rows, one row after the other; see `RowResult`. */
      readonly values: Float32Array;
      /** What the run took, in ms. */
      readonly runMs: number;
      /** Rows whose numbers are of no use. */
      readonly notFinite: readonly number[];
    }
  | {
      readonly type: 'failed';
      readonly id: number;
      readonly kind: EngineErrorKind;
      readonly message: string;
      readonly hint: string | undefined;
    };

/** Looks at the discriminator only: both ends are built from the same sources. */
export function isEngineReply(message: unknown): message is EngineReply {
  return hasType(message) && ['ready', 'loading', 'started', 'result', 'failed'].includes(message.type);
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
