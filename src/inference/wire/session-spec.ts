import type { Pooling, SparsePooling, VectorStep } from '../../model-files/description.ts';
import type { Variant } from '../../model-files/variants.ts';
import type { BackendSession } from '../backend/session.ts';

/** What the engine process needs to load a model. Plain data, so that it can be sent. Made by `sessionSpec`. */
interface SessionFile extends BackendSession {
  /** Which of its precisions the file has. */
  readonly variant: Variant;
  /** Absolute path of the ONNX file. */
  readonly onnxPath: string;
  /** SHA-256 of that file in lower-case hex, or null to take it as it is. */
  readonly expectedSha256: string | null;
  /** Token that fills sequences up to the longest of the batch; masked, so it has no influence. */
  readonly padTokenId: number;
}

/** A session that gives a vector for each sequence. */
export interface VectorSpec extends SessionFile {
  readonly output: 'vector';
  readonly pooling: Pooling;
  /** What is done with a pooled vector, unless the file gives finished ones. */
  readonly steps: readonly VectorStep[];
  /**
   * Whether an output of the file that is one vector a sequence may be taken as the result. False when the pooling or
   * the scaling asked for is not the model's own: such an output would be the wrong one.
   */
  readonly usePooledOutput: boolean;
  /** Whether to scale vectors to length 1. */
  readonly normalize: boolean;
  /** Numbers the model gives for a sequence; anything else is a `load` error. */
  readonly dimensions: number;
}

/** A session that gives logits: one set for each sequence, or one for each token of it. */
export interface LogitsSpec extends SessionFile {
  readonly output: 'sequence-logits' | 'token-logits';
  /** Numbers in a set; anything else is a `load` error. */
  readonly labels: number;
}

/** A session that gives the part of a sparse vector that is not 0. */
export interface SparseSpec extends SessionFile, SparsePooling {
  readonly output: 'sparse';
  /** Numbers the model gives for a token; anything else is a `load` error. */
  readonly dimensions: number;
}

export type SessionSpec = VectorSpec | LogitsSpec | SparseSpec;
