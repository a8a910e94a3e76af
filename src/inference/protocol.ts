import type { Device } from './devices/device.ts';
import type { EngineErrorKind } from './engine-error.ts';
import type { RunOptions, SessionSpec } from './types.ts';

/** How a session is run. */
export interface RunSettings {
  /** What it runs on. */
  readonly device: Device;
  /** Threads a run uses. */
  readonly threads: number;
  /** Whether they wait for the next operator by spinning instead of sleeping. */
  readonly spinning: boolean;
}

/** Settings of an engine process, given as its one argument (JSON) at the start. */
export interface EngineSettings extends RunSettings {
  /** The one session that it loads. */
  readonly session: SessionSpec;
}

/**
 * How soon a batch is due: `interactive` for a caller who waits for the answer, `normal` for the queue, `backfill` for
 * what nobody waits for. A lower number goes first.
 */
export const rank = { interactive: 0, normal: 1, backfill: 2 } as const;
export type Rank = (typeof rank)[keyof typeof rank];

export function rankOf({ ahead, behind }: RunOptions): Rank {
  return ahead ? rank.interactive : behind ? rank.backfill : rank.normal;
}

/** Batches that may go before one that has waited for longer, until it has its turn. */
export const mostInARow = 8;

/** Client to engine process: run a batch. Batches are run one by one, the lowest rank first, else as they arrive. */
export interface RunRequest {
  readonly type: 'run';
  readonly id: number;
  readonly rank: Rank;
  /** Tokens of each row. */
  readonly lengths: Int32Array;
  /** The token ids of all rows, one row after the other. Two flat arrays cost less to send than one for each row. */
  readonly ids: Int32Array;
  /** For rows that are pairs: where the tokens of type 1 begin in each. Null when all tokens are of type 0. */
  readonly secondFrom: Int32Array | null;
  /** Whether vectors are to be scaled to length 1; says nothing to a session that gives logits. */
  readonly normalize: boolean;
}

/** What an error says when it crosses from one process to the other. */
export interface Failure {
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
  | ({ readonly type: 'unloadable' } & Failure)
  /** The batch is about to run: from here on it is to blame for a death. */
  | { readonly type: 'started'; readonly id: number }
  | {
      readonly type: 'result';
      readonly id: number;
      /** The numbers of all rows, one row after the other; see `RowResult`. */
      readonly values: Float32Array;
      /** Rows whose numbers are of no use. */
      readonly notFinite: readonly number[];
      /** What the run took, in ms. */
      readonly runMs: number;
      /** Memory of the process that is not swapped out. */
      readonly residentBytes: number;
    }
  | ({ readonly type: 'failed'; readonly id: number } & Failure);

const replyTypes = ['loading', 'ready', 'unloadable', 'started', 'result', 'failed'];

/** Looks at the discriminator only: both ends are built from the same sources. */
export function isEngineReply(message: unknown): message is EngineReply {
  return hasType(message) && replyTypes.includes(message.type);
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
