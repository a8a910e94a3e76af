import type { Pooling } from '../../models/description.ts';
import type { Variant } from '../../models/variants.ts';
import type { EngineError } from './engine-error.ts';

/** What the engine process needs to load a model. Plain data, so that it can be sent. Made by `sessionSpec`. */
interface SessionFile {
  /** Names the loaded session: specs with the same key share one. */
  readonly key: string;
  /** The model's name, for messages. */
  readonly model: string;
  /** Which of its precisions the file has. */
  readonly variant: Variant;
  /** Absolute path of the ONNX file. */
  readonly onnxPath: string;
  /** SHA-256 of that file in lower-case hex, or null to take it as it is. */
  readonly expectedSha256: string | null;
  /** Token that fills rows up to the longest of the batch; masked, so it has no influence. */
  readonly padTokenId: number;
}

/** A session that gives a vector for each row. */
export interface VectorSpec extends SessionFile {
  readonly output: 'vector';
  readonly pooling: Pooling;
  /**
   * Whether an output of the file that is one vector a row may be taken as the result. False when the pooling or
   * the scaling asked for is not the model's own: such an output would be the wrong one.
   */
  readonly usePooledOutput: boolean;
  /** Whether to scale vectors to length 1. */
  readonly normalize: boolean;
  /** Numbers the model gives per row; anything else is a `load` error. */
  readonly dimensions: number;
}

/** A session that gives logits: one set for each row, or one for each token of it. */
export interface LogitsSpec extends SessionFile {
  readonly output: 'row-logits' | 'token-logits';
  /** Numbers in a set; anything else is a `load` error. */
  readonly labels: number;
}

export type SessionSpec = VectorSpec | LogitsSpec;

/** Two texts as one row; a model that tells them apart takes a token type for each token. */
export interface PairTokens {
  readonly ids: Int32Array;
  /** Place of the first token of type 1; those before it are of type 0. */
  readonly secondFrom: number;
}

/** The token ids of a row, special tokens included. */
export type Sequence = Int32Array | PairTokens;

export function idsOf(sequence: Sequence): Int32Array {
  return sequence instanceof Int32Array ? sequence : sequence.ids;
}

/**
 * What became of one row: its numbers, or why there are none. A vector has `dimensions` floats, logits of a row
 * `labels`, logits of tokens `labels` for each of the row's tokens, one token after the other.
 */
export type RowResult = Float32Array | EngineError;

/** How a batch is to be run. */
export interface RunOptions {
  /** Ahead of all batches that wait without it: for a caller who waits for the answer. */
  readonly ahead?: boolean;
  /** Behind all batches that wait without it: for what nobody waits for. */
  readonly behind?: boolean;
}

/** How a call of the engine is to be run. */
export interface CallOptions extends RunOptions {
  /** The token budget that it was cut under; told in its report, so that budgets can be compared. */
  readonly budget?: number | undefined;
  /** Whether it must not share a batch with other calls: to find out which rows are at fault. */
  readonly alone?: boolean;
}
