import type { EngineError } from './engine-error.ts';
import type { Priority } from './priority.ts';

/**
 * What became of one sequence: its numbers, or why there are none. A vector has as many as the model has dimensions, logits
 * of a text one for each label, logits of tokens one for each label and token, one token after the other. A sparse vector has
 * place and number, one after the other, of those that are not 0, by place.
 */
export type SequenceResult = Float32Array | EngineError;

/** How something is to be run. */
export interface RunOptions {
  /** Default: `normal`. */
  readonly priority?: Priority | undefined;
}

/** How a batch is to be run. */
export interface CallOptions extends RunOptions {
  /** The token budget that it was cut under. It shares a run with other calls only as far as this goes. */
  readonly budget?: number | undefined;
  /** Whether it must not share a run with other calls: to find out which sequences are at fault. */
  readonly alone?: boolean;
}
