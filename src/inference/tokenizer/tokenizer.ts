import { join } from 'node:path';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { messageOf, UserError } from '../../errors.ts';
import { seenPart } from '../../limits.ts';
import type { LocalModel } from '../../model-files/description.ts';
import { readLowerCase } from '../../model-files/model-folder.ts';
import type { TextTokenizer, TokenIds } from '../../tasks/text-tokenizer.ts';
import { EngineError } from '../backend/engine-error.ts';
import { menderFor } from './bert-text.ts';
import { mendedDefinition, mendTokenizer } from './mended-steps.ts';
import { TokenOffsets } from './offsets.ts';
import { PairFrame } from './pair-frame.ts';
import { readObject } from './read-object.ts';
import { safeCutOf } from './safe-cut.ts';
import { limitTime } from './time-limit.ts';
import { idsIn, knownText } from './token-ids.ts';
import type { PairTokens, TokenSequence } from './token-sequence.ts';

/**
 * Characters first looked at for each token that is wanted. English has about 4 to 5 characters a token, so 16 is
 * enough at the first try for nearly every text, and a text much longer than the limit costs little more than one
 * of just that length.
 */
const CHARACTERS_PER_TOKEN = 16;
/** Characters for each token that the model takes, beyond which two texts count as equally long. */
const COUNTED_PER_TOKEN = 256;

/**
 * The tokenizer of a model, from its `tokenizer.json`. Truncation and padding that the file asks for have no effect:
 * the limit is `description.maxTokens`, and sequences are padded by batch.
 * @throws UserError when a file is missing, broken or of a kind the library does not know.
 */
export function loadTokenizer(description: Pick<LocalModel, 'directory' | 'maxTokens'>): HeadTokenizer {
  const path = join(description.directory, 'tokenizer.json');
  const file = readObject(path);
  // The library ignores these two today; without them it stays so.
  const definition: Record<string, unknown> = {
    ...file,
    ...(readLowerCase(description.directory) && { normalizer: lowerCaseBefore(Object(file).normalizer) }),
    truncation: null,
    padding: null,
  };
  let tokenizer: HubTokenizer;
  try {
    tokenizer = new HubTokenizer(
      mendedDefinition(definition),
      readObject(join(description.directory, 'tokenizer_config.json'), {}),
    );
    mendTokenizer(tokenizer);
    limitTime(tokenizer, file);
    return new HeadTokenizer(tokenizer, definition, description.maxTokens);
  } catch (error) {
    throw new UserError(`${path} cannot be used: ${messageOf(error)}`, {
      hint: 'Put the original tokenizer.json of the model there or choose another model',
      cause: error,
    });
  }
}

/**
 * What a token is to be for the library's byte-level decoder, which takes each of its characters for a byte. A token that is text
 * already, such as a word that was joined before, has others: the reference decoder (in Rust) takes it as it is, the library would
 * make NUL of them.
 */
function bytesForDecoder(decoder: unknown): (token: string) => string {
  const bytes: unknown = Object(decoder).byte_decoder;
  if (!bytes) return (token) => token;
  const byteOf = new Map(Object.entries(bytes));
  const characterOf = new Map([...byteOf].map(([character, byte]) => [Number(byte), character]));
  return (token) =>
    Array.from(token).every((character) => byteOf.has(character))
      ? token
      : Array.from(Buffer.from(token), (byte) => characterOf.get(byte)).join('');
}

/** As sentence-transformers does it: special tokens that stand in a text are found as they are. */
function lowerCaseBefore(normalizer: unknown) {
  const normalizers = [{ type: 'Lowercase' }, ...(normalizer ? [normalizer] : [])];
  return { type: 'Sequence', normalizers };
}

/** Keeps the first tokens of a text that has too many. */
class HeadTokenizer implements TextTokenizer<TokenSequence> {
  readonly maxTokens: number;
  readonly #tokenizer: HubTokenizer;
  readonly #definition: unknown;
  readonly #mend: (text: string) => string;
  readonly #safeCut: ReturnType<typeof safeCutOf>;
  readonly #isWordPiece: boolean;
  readonly #asBytes: (token: string) => string;
  /** Special tokens before and after a text. */
  readonly #opening: number;
  readonly #closing: number;

  constructor(tokenizer: HubTokenizer, definition: unknown, maxTokens: number) {
    this.#tokenizer = tokenizer;
    this.#definition = definition;
    this.#mend = menderFor(definition);
    this.#safeCut = safeCutOf(definition);
    this.#isWordPiece = Object(Object(definition).model).type === 'WordPiece';
    this.#asBytes = bytesForDecoder(tokenizer.decoder);
    this.maxTokens = maxTokens;
    const known = knownText(tokenizer);
    const plain = idsIn(tokenizer, known, false);
    const full = idsIn(tokenizer, known);
    const at = full.findIndex((_, start) => plain.every((id, offset) => full[start + offset] === id));
    this.#opening = Math.max(0, at);
    this.#closing = full.length - plain.length - this.#opening;
    if (maxTokens <= this.#opening + this.#closing) {
      throw new Error(`a limit of ${maxTokens} tokens leaves no room beside the special tokens`);
    }
  }

  get specialTokens(): number {
    return this.#opening + this.#closing;
  }

  encode(text: string): Int32Array {
    return this.#cut(this.#encodeEnough(text).ids);
  }

  /** The first `maxTokens` ids, the closing special tokens being the last of them. */
  #cut(ids: readonly number[]): Int32Array {
    if (ids.length <= this.maxTokens) {
      return Int32Array.from(ids);
    }
    const head = Int32Array.from(ids.slice(0, this.maxTokens));
    head.set(ids.slice(ids.length - this.#closing), this.maxTokens - this.#closing);
    return head;
  }

  pairsWith(seconds: readonly string[]): (text: string) => PairTokens[] {
    const frame = new PairFrame(this.#tokenizer, this.#definition);
    const ids = seconds.map((second) => {
      const encoded = idsIn(this.#tokenizer, this.#mend(second), false);
      const most = this.maxTokens - frame.overhead - 1;
      if (encoded.length > most) {
        throw new UserError(
          `'${second}' has ${encoded.length} tokens, and beside a text there is room for ${most}`,
          { hint: 'Choose shorter labels or a shorter hypothesis_template' },
        );
      }
      return Int32Array.from(encoded);
    });
    return (text) => {
      const plain = this.#plain(text);
      return ids.map((second) => frame.join(plain, second, this.maxTokens));
    };
  }

  pairsOf(first: string): (second: string) => PairTokens {
    const frame = new PairFrame(this.#tokenizer, this.#definition);
    const head = this.#plain(first);
    const count = (text: string) => this.count(text.slice(0, this.maxTokens * COUNTED_PER_TOKEN));
    let tokens: number | undefined;
    return (second) => {
      const other = this.#plain(second);
      let isLonger = head.length > other.length;
      if (Math.min(head.length, other.length) + this.specialTokens >= this.maxTokens) {
        // Two beginnings as long as they can be do not tell which text is longer, on which a token depends.
        tokens ??= count(first);
        isLonger = tokens > count(second);
      }
      return frame.joinCut(head, other, isLonger, this.maxTokens);
    };
  }

  /** Ids of a text without special tokens, or so many of the first that no pair takes more. */
  #plain(text: string): Int32Array {
    const whole = this.encode(text);
    return whole.subarray(this.#opening, whole.length - this.#closing);
  }

  withPlaces() {
    let offsets: TokenOffsets;
    try {
      offsets = new TokenOffsets(this.#tokenizer, this.#definition, this.#mend);
    } catch (error) {
      throw new UserError(`The tokenizer cannot say where its tokens stand in a text: ${messageOf(error)}`, {
        hint: 'Choose a model with a WordPiece, byte-level BPE or Unigram tokenizer',
        cause: error,
      });
    }
    return (text: string) => {
      const enough = this.#encodeEnough(text);
      const places = offsets.places(enough.text);
      if (places.length !== enough.ids.length - this.#opening - this.#closing) {
        throw new EngineError('run', 'The places of the tokens in the text cannot be told', {
          hint: 'Change the text or choose another model',
        });
      }
      const ids = this.#cut(enough.ids);
      return {
        ids,
        places: places.slice(0, ids.length - this.#opening - this.#closing),
        opening: this.#opening,
      };
    };
  }

  join(tokens: readonly string[]): string {
    return this.#tokenizer.decoder?.decode(tokens.map(this.#asBytes)) ?? tokens.join(' ');
  }

  count(text: string): number {
    return idsIn(this.#tokenizer, this.#mend(text), false).length;
  }

  readonly ids: TokenIds = {
    encode: (text) => [...this.encode(text)],
    decode: (ids) => {
      const strange = ids.find((id) => this.#tokenizer.id_to_token(id) === undefined);
      if (strange !== undefined) {
        throw new UserError(`${strange} is no token of the model`, {
          hint: "Give ids of the model's own tokenizer, or the text itself",
        });
      }
      return ids.length === 0 ? '' : this.#tokenizer.decode([...ids], { skip_special_tokens: true });
    },
  };

  /**
   * Ids of the whole text, or of so much of it that the rest cannot change the first `maxTokens`; and that part.
   */
  #encodeEnough(whole: string): { text: string; ids: number[] } {
    const text = this.#isWordPiece ? whole : seenPart(whole, this.maxTokens);
    let from = 0;
    for (let size = this.maxTokens * CHARACTERS_PER_TOKEN; this.#safeCut && size < text.length; size *= 2) {
      const cut = this.#safeCut.before(text, from, size);
      if (cut < 0) {
        // One word without a break so far; it has to be seen to its end.
        continue;
      }
      const head = text.slice(0, cut);
      const ids = this.#ids(head);
      if (ids.length >= this.maxTokens) {
        return { text: head, ids };
      }
      from = cut;
    }
    return { text, ids: this.#ids(text) };
  }

  #ids(text: string): number[] {
    return idsIn(this.#tokenizer, this.#mend(text));
  }
}
