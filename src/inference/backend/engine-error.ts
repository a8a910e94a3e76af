import { UserError } from '../../errors.ts';

/**
 * What went wrong in the engine, and so whom it concerns.
 *
 * The model, so every row of the pipeline alike:
 * - `load`: it cannot be loaded (missing, damaged, wrong checksum, wrong dimensions), or a server elsewhere does not give it.
 * - `start`: the engine process does not come up, or ended each time before the model was loaded; a server elsewhere cannot
 *   be reached, or answers nothing that could be used.
 *
 * The batch that was running, so at last one of its sequences:
 * - `run`: ONNX Runtime or the server refused it, or the places of a text's tokens could not be told.
 * - `died`: the process ended while it ran; or the server failed, and works for other texts.
 * - `timeout`: it ran for too long and the process was killed; or the server did not answer in time.
 * - `memory`: there was not enough memory for it.
 *
 * One sequence:
 * - `not-finite`: its numbers hold NaN or an infinity, or are zero where a length of 1 was asked for.
 *
 * Nobody:
 * - `stopped`: the engine was stopped before the batch ran.
 * - `busy`: too many callers wait already.
 * - `later`: the backend takes nothing before a certain time (`until`): a limit of calls a minute is used up, or a server says so.
 */
export type EngineErrorKind =
  | 'load'
  | 'start'
  | 'run'
  | 'died'
  | 'timeout'
  | 'memory'
  | 'not-finite'
  | 'stopped'
  | 'busy'
  | 'later';

const BLAMING_BATCH: readonly EngineErrorKind[] = ['run', 'died', 'timeout', 'memory'];

/** An error of the engine; `kind` says whom it concerns. Holds no user text. */
export class EngineError extends UserError {
  override readonly name = 'EngineError';
  readonly kind: EngineErrorKind;
  /** Whether there was too little memory, as far as can be told: the kernel ends a process that takes too much. */
  readonly wantsMemory: boolean;
  /** Of `later`: when to try again; in ms since 1970. */
  readonly until: number | undefined;

  constructor(
    kind: EngineErrorKind,
    message: string,
    options: { hint?: string; cause?: unknown; wantsMemory?: boolean; until?: number } = {},
  ) {
    super(message, options);
    this.kind = kind;
    this.wantsMemory = options.wantsMemory ?? kind === 'memory';
    this.until = options.until;
  }

  /** Whether a part of the batch may succeed where the whole did not, so that it is worth halving. */
  get blamesBatch(): boolean {
    return BLAMING_BATCH.includes(this.kind);
  }
}
