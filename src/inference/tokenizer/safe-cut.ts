import { z } from 'zod';
import { stepSchema, stepsOf } from './steps.ts';

/**
 * Finds places where a text may be cut so that the tokens before the cut are those of the whole text.
 *
 * That holds for a cut before a character that ends every word, given a tokenizer whose steps look at one word at a
 * time. So it is decided from `tokenizer.json`, by lists of steps known to be of that kind; for any other tokenizer
 * there is no safe place and the whole text is to be encoded.
 */
export interface SafeCut {
  /** The last safe cut in (`from`, `to`], or -1. A cut at `i` keeps the characters before `i`. */
  before(text: string, from: number, to: number): number;
}

const tokenizerParts = z.looseObject({
  normalizer: stepSchema.nullish(),
  pre_tokenizer: stepSchema.nullish(),
  added_tokens: z.array(z.looseObject({ content: z.string() })).default([]),
});

/** Normalizers that neither join what a space divides nor take a space away between words. */
const LOCAL_NORMALIZERS = new Set([
  'BertNormalizer',
  'Lowercase',
  'NFC',
  'NFD',
  'NFKC',
  'NFKD',
  'StripAccents',
  'Strip',
  'Precompiled',
]);

/** Pre-tokenizers that end a word at every space, however many there are. */
const SPACE_SPLITTERS = new Set(['BertPreTokenizer', 'Whitespace', 'WhitespaceSplit']);

/** Where texts may be cut under the tokenizer of this `tokenizer.json`, or null when nowhere for sure. */
export function safeCutOf(tokenizerJson: unknown): SafeCut | null {
  const parts = tokenizerParts.safeParse(tokenizerJson);
  if (!parts.success) {
    return null;
  }
  const { normalizer, pre_tokenizer: splitter, added_tokens: added } = parts.data;
  const steps = stepsOf(normalizer);
  if (!steps.every((each) => LOCAL_NORMALIZERS.has(each.type))) {
    return null;
  }
  const first = stepsOf(splitter)[0];
  const atEverySpace = first !== undefined && SPACE_SPLITTERS.has(first.type);
  // GPT-2's pattern takes the last space of a run as part of the next word, so only the start of a run is safe.
  const atStartOfSpaces = first?.type === 'ByteLevel' && first.use_regex !== false;
  // A token that holds a space may reach across the cut.
  if (!(atEverySpace || atStartOfSpaces) || added.some((token) => /\s/.test(token.content))) {
    return null;
  }
  // BERT puts spaces around each CJK character before anything else, so a cut before one is a cut before a space.
  const han = atEverySpace && steps[0]?.type === 'BertNormalizer' && steps[0].handle_chinese_chars === true;
  const addedHan = added.some((token) => HAN_PATTERN.test(token.content));
  return { before: (text, from, to) => lastCut(text, from, to, atEverySpace, han && !addedHan) };
}

/** The CJK characters in the basic plane that BERT treats as words, from its `_is_chinese_char`. */
const HAN_PATTERN = /[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]/;

function lastCut(text: string, from: number, to: number, atEverySpace: boolean, han: boolean): number {
  for (let cut = Math.min(to, text.length - 1); cut > from; cut--) {
    const code = text.charCodeAt(cut);
    if (isSpace(code) ? atEverySpace || !isSpace(text.charCodeAt(cut - 1)) : han && isHan(code)) {
      return cut;
    }
  }
  return -1;
}

/** Only spaces that no normalizer drops: \v, \f and the byte order mark count as control characters in BERT. */
function isSpace(code: number): boolean {
  return code === 0x20 || code === 0x0a || code === 0x09 || code === 0x0d;
}

function isHan(code: number): boolean {
  return (
    (code >= 0x3400 && code <= 0x4dbf) ||
    (code >= 0x4e00 && code <= 0x9fff) ||
    (code >= 0xf900 && code <= 0xfaff)
  );
}
