import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';

/**
 * Ids of a text. A part that is not in the vocabulary of a tokenizer without an unknown token is left out, as the
 * reference does; the library gives undefined for it.
 */
export function idsIn(tokenizer: HubTokenizer, text: string, special = true): number[] {
  const ids: (number | undefined)[] = tokenizer.encode(text, { add_special_tokens: special }).ids;
  return isComplete(ids) ? ids : ids.filter((id) => id !== undefined);
}

function isComplete(ids: (number | undefined)[]): ids is number[] {
  return !ids.includes(undefined);
}

/** A text of a single letter, number or mark that the tokenizer knows. @throws Error when it seems to know none. */
export function knownText(tokenizer: HubTokenizer): string {
  const texts = ['a', 'e', 'A', '1', '.', '的', 'の', '이', 'а', 'ا', 'ক', 'क', 'ก'];
  const unknown = [
    undefined,
    tokenizer.model?.unk_token_id,
    tokenizer.token_to_id(`${tokenizer.model?.unk_token}`),
  ];
  const known = texts.find((text) => idsIn(tokenizer, text, false).some((id) => !unknown.includes(id)));
  if (known === undefined) {
    throw new Error('it has no token for any letter');
  }
  return known;
}
