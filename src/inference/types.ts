import type { Pooling } from '../models/description.ts';
import type { EngineError } from './engine-error.ts';

/**
 * Everything the engine process needs to give vectors: which file to load and how to finish what comes out.
 * Plain data, so that it can be sent. Made by `sessionSpec`.
 */
export interface SessionSpec {
  /** Names the loaded session: specs with the same key share one. */
  readonly key: string;
  /** The model's name, for messages. */
  readonly model: string;
  /** Absolute path of the ONNX file. */
  readonly onnxPath: string;
  /** SHA-256 of that file in lower-case hex, or null to take it as it is. */
  readonly expectedSha256: string | null;
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
  /** Token that fills rows up to the longest of the batch; masked, so it has no influence. */
  readonly padTokenId: number;
}

/** What became of one row: its vector (`dimensions` floats), or why there is none. */
export type RowResult = Float32Array | EngineError;

/** How a batch is to be run. */
export interface RunOptions {
  /** Ahead of all batches that wait without it: for a caller who waits for the answer. */
  readonly ahead?: boolean;
}
