import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { messageOf, UserError } from '../errors.ts';
import type { ModelDescription } from '../models/description.ts';
import { menderFor } from './bert-text.ts';
import { safeCutOf } from './safe-cut.ts';

/**
 * Characters first looked at for each token that is wanted. English has about 4 to 5 characters a token, so 16 is
 * enough at the first try for nearly every text, and a text much longer than the limit costs little more than one
 * of just that length.
 */
const charactersPerToken = 16;

/** Turns text into token ids. Synchronous: about a microsecond a token. */
export interface Tokenizer {
  /** The most ids `encode` gives. */
  readonly maxTokens: number;
  /**
   * Token ids of a text with the model's special tokens. Of a longer text the first tokens are kept and the closing
   * special tokens put after them. Takes any string, also '' and one with lone surrogates.
   */
  encode(text: string): Int32Array;
  /** How many tokens a text has, however many: without the model's special tokens and without a limit. */
  count(text: string): number;
}

/**
 * The tokenizer of a model, from its `tokenizer.json`. Truncation and padding that the file asks for have no effect:
 * the limit is `description.maxTokens`, and rows are padded by batch.
 * Raises UserError when a file is missing, broken or of a kind the library does not know.
 */
export function loadTokenizer(description: ModelDescription): Tokenizer {
  const path = join(description.directory, 'tokenizer.json');
  const file = readObject(path);
  // The library ignores these two today; without them it stays so.
  const definition: Record<string, unknown> = { ...file, truncation: null, padding: null };
  let tokenizer: HubTokenizer;
  try {
    tokenizer = new HubTokenizer(
      definition,
      readObject(join(description.directory, 'tokenizer_config.json'), {}),
    );
    return new HeadTokenizer(tokenizer, definition, description.maxTokens);
  } catch (error) {
    throw new UserError(`${path} cannot be used: ${messageOf(error)}`, {
      hint: 'Put the original tokenizer.json of the model there or choose another model',
      cause: error,
    });
  }
}

class HeadTokenizer implements Tokenizer {
  readonly maxTokens: number;
  readonly #tokenizer: HubTokenizer;
  readonly #mend: (text: string) => string;
  readonly #safeCut: ReturnType<typeof safeCutOf>;
  /** Special tokens before and after a text. */
  readonly #opening: number;
  readonly #closing: number;

  constructor(tokenizer: HubTokenizer, definition: unknown, maxTokens: number) {
    this.#tokenizer = tokenizer;
    this.#mend = menderFor(definition);
    this.#safeCut = safeCutOf(definition);
    this.maxTokens = maxTokens;
    const plain: number[] = tokenizer.encode('a', { add_special_tokens: false }).ids;
    const full: number[] = tokenizer.encode('a').ids;
    const at = full.findIndex((_, start) => plain.every((id, offset) => full[start + offset] === id));
    this.#opening = Math.max(0, at);
    this.#closing = full.length - plain.length - this.#opening;
    if (maxTokens <= this.#opening + this.#closing) {
      throw new Error(`a limit of ${maxTokens} tokens leaves no room beside the special tokens`);
    }
  }

  encode(text: string): Int32Array {
    const ids = this.#encodeEnough(text);
    if (ids.length <= this.maxTokens) {
      return Int32Array.from(ids);
    }
    const head = Int32Array.from(ids.slice(0, this.maxTokens));
    head.set(ids.slice(ids.length - this.#closing), this.maxTokens - this.#closing);
    return head;
  }

  count(text: string): number {
    return this.#tokenizer.encode(this.#mend(text), { add_special_tokens: false }).ids.length;
  }

  /** Ids of the whole text, or of so much of it that the rest cannot change the first `maxTokens`. */
  #encodeEnough(text: string): number[] {
    let from = 0;
    for (let size = this.maxTokens * charactersPerToken; this.#safeCut && size < text.length; size *= 2) {
      const cut = this.#safeCut.before(text, from, size);
      if (cut < 0) {
        // One word without a break so far; it has to be seen to its end.
        continue;
      }
      const ids = this.#ids(text.slice(0, cut));
      if (ids.length >= this.maxTokens) {
        return ids;
      }
      from = cut;
    }
    return this.#ids(text);
  }

  #ids(text: string): number[] {
    return this.#tokenizer.encode(this.#mend(text)).ids;
  }
}

function readObject(path: string, missing?: Record<string, unknown>): object {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (missing && error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return missing;
    }
    throw new UserError(`${path} cannot be read: ${messageOf(error)}`, {
      hint: 'Put the complete file there or fetch the model again',
      cause: error,
    });
  }
  if (typeof value !== 'object' || value === null) {
    throw new UserError(`${path} does not hold a JSON object`, {
      hint: 'Put the original file of the model there',
    });
  }
  return value;
}
