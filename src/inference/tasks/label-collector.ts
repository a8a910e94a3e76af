import { EngineError } from '../backend/engine-error.ts';
import type { RowResult, Sequence } from '../backend/types.ts';
import type { LabelResult, PreparedText } from './label-task.ts';

/**
 * Puts the rows of texts together again: a text may be several rows, and rows of like length share a batch whichever
 * text they are from, so a text is done when the last of its rows is.
 */
export class LabelCollector {
  /** The rows of all texts, one text after the other. */
  readonly sequences: readonly Sequence[];
  /** By text; complete when every row was added. */
  readonly results: (LabelResult | EngineError)[];
  /** Texts that are done before any row is run, since they could not be prepared. */
  readonly failed: readonly number[];
  readonly #texts: readonly (PreparedText | EngineError)[];
  /** For each row its text. */
  readonly #textOf: readonly number[];
  /** For each text its first row, and how many are still to come. */
  readonly #firstRow: number[] = [];
  readonly #missing: number[] = [];
  readonly #rows: RowResult[];

  constructor(texts: readonly (PreparedText | EngineError)[]) {
    const rows = texts.map((text) => (text instanceof EngineError ? [] : text.sequences));
    this.#texts = texts;
    this.sequences = rows.flat();
    this.results = new Array(texts.length);
    this.failed = texts.flatMap((text, index) => {
      if (!(text instanceof EngineError)) {
        return [];
      }
      this.results[index] = text;
      return [index];
    });
    this.#rows = new Array(this.sequences.length);
    this.#textOf = rows.flatMap((sequences, text) => sequences.map(() => text));
    let row = 0;
    for (const { length } of rows) {
      this.#firstRow.push(row);
      this.#missing.push(length);
      row += length;
    }
  }

  /** Takes rows with what became of them. Returns the texts that are done with them; their `results` are there. */
  add(rows: readonly number[], done: readonly RowResult[]): number[] {
    return rows.flatMap((row, index) => {
      const text = this.#textOf[row]!;
      this.#rows[row] = done[index]!;
      this.#missing[text]!--;
      if (this.#missing[text] !== 0) {
        return [];
      }
      this.results[text] = this.#finish(text);
      return [text];
    });
  }

  #finish(text: number): LabelResult | EngineError {
    const prepared = this.#texts[text]!;
    if (prepared instanceof EngineError) {
      return prepared;
    }
    const { sequences, finish } = prepared;
    const first = this.#firstRow[text]!;
    const logits: Float32Array[] = [];
    for (const row of this.#rows.slice(first, first + sequences.length)) {
      if (row instanceof EngineError) {
        return row;
      }
      logits.push(row);
    }
    return finish(logits);
  }
}
