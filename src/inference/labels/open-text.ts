import type { PreparedText } from '../../tasks/task.ts';
import { EngineError } from '../backend/engine-error.ts';
import type { SequenceResult } from '../backend/run.ts';

/** A sequence of a text, and its number among them. */
export interface TextSequence<Text, Result> {
  readonly sequence: object;
  readonly of: OpenText<Text, Result>;
  readonly number: number;
}

/**
 * A text until it has its result. It may be several sequences, and those of like length share a batch whichever text they
 * are from, so a text is done when the last of its sequences is.
 */
export class OpenText<Text, Result> {
  readonly text: Text;
  readonly #prepared: PreparedText<Result> | EngineError;
  readonly #results: SequenceResult[] = [];
  #missing: number;

  /** @param prepared an error where it could not be prepared: then it is done without a sequence */
  constructor(text: Text, prepared: PreparedText<Result> | EngineError) {
    this.text = text;
    this.#prepared = prepared;
    this.#missing = prepared instanceof EngineError ? 0 : prepared.sequences.length;
  }

  get sequences(): readonly TextSequence<Text, Result>[] {
    if (this.#prepared instanceof EngineError) return [];
    return this.#prepared.sequences.map((sequence, number) => ({ sequence, of: this, number }));
  }

  /** Whether there is something for each sequence. */
  get done(): boolean {
    return this.#missing === 0;
  }

  put(number: number, result: SequenceResult): void {
    this.#results[number] = result;
    this.#missing--;
  }

  /** Its result when it is done, or the first error of its sequences. */
  result(): Result | EngineError {
    if (this.#prepared instanceof EngineError) return this.#prepared;
    const logits: Float32Array[] = [];
    for (const result of this.#results) {
      if (result instanceof EngineError) return result;
      logits.push(result);
    }
    return this.#prepared.finish(logits);
  }
}
