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

/** What a task gives for a text that it labels. */
export interface LabelResult {
  /** The label with the highest score; null where parts of the text are labelled. */
  readonly label: string | null;
  /** Its score; null where parts of the text are labelled. */
  readonly score: number | null;
  /**
   * The scores by label, the highest first (JavaScript puts labels that are whole numbers before all others), or the labelled
   * parts in the order of the text.
   */
  readonly detail: Readonly<Record<string, number>> | readonly Entity[];
}
