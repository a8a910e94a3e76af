import { seenPart } from '../../limits.ts';
import type { TextTokenizer } from '../../tasks/text-tokenizer.ts';
import { loadTokenizer } from '../tokenizer/tokenizer.ts';
import type { EndpointModel } from './endpoint-model.ts';

/** A text as it is sent. */
export interface SentText {
  readonly text: string;
  /** How many tokens it has, or about how many. */
  readonly tokens: number;
}

/** A usual measure: an English token has about 4 letters. Other scripts have more bytes a letter, and more tokens. */
const BYTES_PER_TOKEN = 4;

/** About how many tokens a text has, where the model's own tokenizer is not here. */
export function estimateTokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / BYTES_PER_TOKEN);
}

/** @throws UserError when a tokenizer is named that cannot be used */
export function tokenizerOf(model: EndpointModel): TextTokenizer<SentText> {
  const { maxTokens, tokenizer: directory } = model;
  const vectorsOnly = () => {
    throw new Error('an endpoint gives vectors only');
  };
  const rest = {
    maxTokens,
    pairsWith: vectorsOnly,
    pairsOf: vectorsOnly,
    withPlaces: vectorsOnly,
    join: vectorsOnly,
  };
  if (directory === undefined) {
    return {
      ...rest,
      specialTokens: 0,
      count: estimateTokens,
      // Where it is to be cut is for the server to know.
      encode(text) {
        const seen = seenPart(text, maxTokens);
        return { text: seen, tokens: Math.min(estimateTokens(seen), maxTokens) };
      },
    };
  }
  const local = loadTokenizer({ directory, maxTokens });
  const most = maxTokens - local.specialTokens;
  return {
    ...rest,
    specialTokens: local.specialTokens,
    count: (text) => local.count(text),
    ids: local.ids,
    encode(text) {
      const tokens = local.encode(text).length;
      if (tokens < maxTokens) return { text, tokens };
      return { text: headOf(seenPart(text, maxTokens), most, (head) => local.count(head) <= most), tokens };
    },
  };
}

/** The longest beginning of a text that fits; never through a character of two units. */
function headOf(text: string, first: number, fits: (head: string) => boolean): string {
  let fitting = 0;
  let tooLong = text.length + 1;
  for (let length = first; length < tooLong; length *= 2) {
    if (fits(cut(text, length))) fitting = length;
    else tooLong = length;
  }
  while (tooLong - fitting > 1) {
    const middle = (fitting + tooLong) >> 1;
    if (fits(cut(text, middle))) fitting = middle;
    else tooLong = middle;
  }
  return cut(text, fitting);
}

function cut(text: string, length: number): string {
  const last = text.charCodeAt(length - 1);
  return text.slice(0, last >= 0xd800 && last <= 0xdbff && length < text.length ? length - 1 : length);
}
