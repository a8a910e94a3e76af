import { characters } from './boundaries.ts';

/** Counts tokens; a Tokenizer is one. */
export interface TokenCounter {
  /** Tokens of a text, special tokens not added. */
  count(text: string): number;
}

/** UTF-16 units of a word that are counted at once, so that no part of a long word is counted again and again. */
const LONGEST_UNIT = 64;

/**
 * Estimates the tokens of any part of a text as the sum of the tokens of its words. It is exact for tokenizers that take
 * each word by itself, except for words of more than 64 UTF-16 units. Each different word is tokenized once.
 */
export class TokenIndex {
  readonly #text: string;
  readonly #counter: TokenCounter;
  readonly #known = new Map<string, number>();
  /** Words, long ones in parts. Unit i is from #starts[i] to #ends[i]; #before[i] tokens are before it. */
  readonly #starts: number[] = [];
  readonly #ends: number[] = [];
  readonly #before: number[] = [0];

  constructor(text: string, counter: TokenCounter) {
    this.#text = text;
    this.#counter = counter;
  }

  /** Reads the text, which must come first; pauses after each word. */
  *read(): Generator<undefined> {
    for (const { 0: word, index } of this.#text.matchAll(/\S+/g)) {
      let start = 0;
      for (const end of characters(LONGEST_UNIT)(word)) {
        this.#add(index + start, index + end);
        start = end;
      }
      this.#add(index + start, index + word.length);
      yield;
    }
  }

  /** About how many tokens there are from `start` to `end`; 0 only for whitespace. */
  estimate(start: number, end: number): number {
    const first = firstAbove(this.#ends, start);
    const after = firstAbove(this.#starts, end - 1);
    if (first >= after) {
      return 0;
    }
    const last = after - 1;
    let tokens = this.#before[after]! - this.#before[first]!;
    if (this.#starts[first]! < start || this.#ends[first]! > end) {
      tokens -= this.#before[first + 1]! - this.#before[first]!;
      tokens += this.#count(Math.max(start, this.#starts[first]!), Math.min(end, this.#ends[first]!));
    }
    if (last > first && this.#ends[last]! > end) {
      tokens -= this.#before[after]! - this.#before[last]!;
      tokens += this.#count(this.#starts[last]!, end);
    }
    return tokens;
  }

  /** How many tokens there are from `start` to `end`, whitespace at both ends left out, by tokenizing all of it. */
  exact(start: number, end: number): number {
    return this.#counter.count(this.#text.slice(start, end).trim());
  }

  #add(start: number, end: number): void {
    this.#starts.push(start);
    this.#ends.push(end);
    this.#before.push(this.#before.at(-1)! + this.#count(start, end));
  }

  /** Tokens of a part of one unit. At least 1, so that no chunk grows without end by characters without tokens. */
  #count(start: number, end: number): number {
    const word = this.#text.slice(start, end);
    let tokens = this.#known.get(word);
    if (tokens === undefined) {
      tokens = Math.max(1, this.#counter.count(word));
      this.#known.set(word, tokens);
    }
    return tokens;
  }
}

/** The place of the first of ascending numbers above a limit; their length when all are below it. */
function firstAbove(numbers: readonly number[], limit: number): number {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (numbers[middle]! > limit) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  return low;
}
