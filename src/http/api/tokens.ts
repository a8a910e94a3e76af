import type { Tokenizer } from '../../tasks/text-tokenizer.ts';

/** Characters first looked at for each token that the model takes: enough for nearly every text. */
const CHARACTERS_PER_TOKEN = 16;
/** Beyond that a text counts as longer than the model takes: counting further would take as long as the text is long. */
const MOST_CHARACTERS_PER_TOKEN = 256;

/**
 * How many tokens of a text the model reads, special ones included, and whether there are more. Takes no longer for a text
 * that is much longer than the model's limit.
 */
export function countTokens(tokenizer: Tokenizer, text: string): { tokens: number; more: boolean } {
  const { maxTokens, ids } = tokenizer;
  const read = ids?.encode(text).length ?? tokenizer.count(text);
  if (read < maxTokens) return { tokens: read, more: false };
  const special = ids?.encode('').length ?? 0;
  const most = maxTokens * MOST_CHARACTERS_PER_TOKEN;
  for (let size = maxTokens * CHARACTERS_PER_TOKEN; size < Math.min(text.length, most); size *= 2) {
    // A word that is cut in two may be a token more.
    if (tokenizer.count(text.slice(0, size)) > maxTokens) return { tokens: maxTokens, more: true };
  }
  const more = text.length > most || tokenizer.count(text) > maxTokens - special;
  return { tokens: maxTokens, more };
}
