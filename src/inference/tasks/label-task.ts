/** A token or a run of tokens that was given a label. */
export type Entity = EntityPlace & ({ readonly entity: string } | { readonly entity_group: string });

interface EntityPlace {
  /** From 0 to 1. */
  readonly score: number;
  /** As the tokenizer writes it: in lower case and without accents for many models. */
  readonly word: string;
  /**
   * Where it stands in the text, in Unicode code points (PostgreSQL's characters; not UTF-16 units): from `start` to
   * before `end`. In SQL that is `substr(text, start + 1, end - start)`.
   */
  readonly start: number;
  readonly end: number;
}

/** What a classification task gives for a text. */
export interface LabelResult {
  /** The label with the highest score; null for token-classification. */
  readonly label: string | null;
  /** Its score; null for token-classification. */
  readonly score: number | null;
  /**
   * The scores by label, the highest first (JavaScript puts labels that are whole numbers before all others), or for
   * token-classification the entities in the order of the text.
   */
  readonly detail: Readonly<Record<string, number>> | readonly Entity[];
}

/** A text as sequences for the model, and how their logits become its result. */
export interface PreparedText {
  /** At least one. */
  readonly sequences: readonly object[];
  /** @param logits of each sequence, in their order */
  finish(logits: readonly Float32Array[]): LabelResult;
}

/**
 * A task with its model and its options: what is to be done with each text.
 * @throws EngineError for a text with which it cannot be done.
 */
export type LabelTask = (text: string) => PreparedText;
