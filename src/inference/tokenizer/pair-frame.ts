import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { idsIn, knownText } from './token-ids.ts';
import type { PairTokens } from './token-sequence.ts';

/** How a tokenizer writes two texts as one sequence: the special tokens around them, and which tokens are of type 1. */
export class PairFrame {
  readonly #opening: readonly number[];
  readonly #middle: readonly number[];
  readonly #closing: readonly number[];
  /** Special tokens of type 1; null when the second text is not of type 1 either. */
  readonly #specialsOfTypeOne: number | null;

  /** Learned from a pair of one-letter texts. @throws Error when these are not found in it, in their order. */
  constructor(tokenizer: HubTokenizer, definition: unknown) {
    const known = knownText(tokenizer);
    const ids = idsIn(tokenizer, known, false);
    const pair = tokenizer.encode(known, { text_pair: known, return_token_type_ids: true });
    const firstAt = find(pair.ids, ids, 0);
    const secondAt = find(pair.ids, ids, firstAt + ids.length);
    if (firstAt < 0 || secondAt < 0) {
      throw new Error('its pairs of texts are not one text after the other');
    }
    this.#opening = pair.ids.slice(0, firstAt);
    this.#middle = pair.ids.slice(firstAt + ids.length, secondAt);
    this.#closing = pair.ids.slice(secondAt + ids.length);
    const types: number[] = pair.token_type_ids ?? [];
    const ones = types.filter((type) => type === 1).length;
    // The library gives type 1 to RoBERTa's second text; the reference, and the model, know only type 0.
    this.#specialsOfTypeOne = ones === 0 || isRoberta(definition) ? null : ones - ids.length;
  }

  /** Special tokens in a pair. */
  get overhead(): number {
    return this.#opening.length + this.#middle.length + this.#closing.length;
  }

  /**
   * The pair of two texts' ids without special tokens. Where they are too long together, the longer one is cut to what the
   * other leaves, but never to less than half of the room: the rule `longest_first` of the reference tokenizer (in Rust).
   * @param isFirstLonger as whole texts; the beginnings that are given may be equally long
   */
  joinCut(first: Int32Array, second: Int32Array, isFirstLonger: boolean, maxTokens: number): PairTokens {
    const room = Math.max(0, maxTokens - this.overhead);
    const [shorter, longer] = [first.length, second.length].sort((a, b) => a - b) as [number, number];
    if (shorter + longer <= room) return this.join(first, second, maxTokens);
    const half = Math.floor(room / 2);
    const [short, long] = 2 * shorter > room ? [half, room - half] : [shorter, room - shorter];
    const cutFirst = first.subarray(0, isFirstLonger ? long : short);
    return this.join(cutFirst, second.subarray(0, isFirstLonger ? short : long), maxTokens);
  }

  /** The pair of two texts' ids without special tokens. Of the first only what fits into `maxTokens` is taken. */
  join(first: Int32Array, second: Int32Array, maxTokens: number): PairTokens {
    const head = first.subarray(0, Math.max(0, maxTokens - this.overhead - second.length));
    const parts = [this.#opening, head, this.#middle, second, this.#closing];
    const ids = new Int32Array(this.overhead + head.length + second.length);
    let at = 0;
    for (const part of parts) {
      ids.set(part, at);
      at += part.length;
    }
    const ones = this.#specialsOfTypeOne;
    return { ids, secondFrom: ones === null ? ids.length : ids.length - second.length - ones };
  }
}

/** Where `part` begins in `ids`, from `from` on, or -1. */
function find(ids: readonly number[], part: readonly number[], from: number): number {
  return ids.findIndex((_, at) => at >= from && part.every((id, offset) => ids[at + offset] === id));
}

function isRoberta(definition: unknown): boolean {
  return JSON.stringify(Object(definition).post_processor ?? null).includes('"RobertaProcessing"');
}
