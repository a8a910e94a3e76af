import type { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';

/** A token of a normalized text: the UTF-16 units it stands for, from `from` to before `to`. */
export interface TokenCut {
  readonly token: string;
  readonly from: number;
  readonly to: number;
  /** Whether it stands for something that the vocabulary does not have. */
  readonly unknown: boolean;
}

/**
 * Cuts a normalized text into tokens.
 * @param section number of the text among those between added tokens; the first of them may get a space before it
 */
export type TokenCutter = (text: string, section: number) => TokenCut[];

/** BERT's kind: the tokens of a word are its characters, those after the first with a prefix. */
export function wordPieceCutter(tokenizer: HubTokenizer, prefix: string, unknownToken: string): TokenCutter {
  return (text, section) => {
    let at = 0;
    return wordsOf(tokenizer, text, section).flatMap((word) => {
      const begin = text.indexOf(word, at);
      at = begin;
      return tokensOf(tokenizer, [word]).map((token) => {
        const from = at;
        const unknown = token === unknownToken;
        at += unknown ? word.length : token.length - (from > begin ? prefix.length : 0);
        return { token, from, to: at, unknown };
      });
    });
  };
}

/** GPT-2's and RoBERTa's kind: each character of a token is a byte of the text's UTF-8, spaces included. */
export function byteLevelCutter(tokenizer: HubTokenizer, trimsSpaces: boolean): TokenCutter {
  return (text, section) => {
    const words = wordsOf(tokenizer, text, section);
    const { starts, ends } = bytesOf(text);
    // A space that was put before the text is no byte of it.
    let at = starts.length - words.reduce((sum, word) => sum + word.length, 0);
    return tokensOf(tokenizer, words).map((token) => {
      const [before, after] = trimsSpaces ? spacesAround(token) : [0, 0];
      const first = Math.max(0, at + before);
      at += token.length;
      const end = Math.max(first, at - after);
      const from = starts[first] ?? text.length;
      return { token, from, to: end > first ? ends[end - 1]! : from, unknown: false };
    });
  };
}

/** SentencePiece's kind: tokens are the characters of the text, with ▁ for a space or before a word. */
export function unigramCutter(tokenizer: HubTokenizer, wordsAreSplit: boolean): TokenCutter {
  return (text, section) => {
    let at = 0;
    return tokensOf(tokenizer, wordsOf(tokenizer, text, section)).map((token) => {
      let from = at;
      for (const [index, character] of Array.from(token).entries()) {
        if (character === '▁' && wordsAreSplit) {
          // What stands between words belongs to no token.
          at += leading(text, /\p{White_Space}/u, at);
          from = index === 0 ? at : from;
        }
        // A mark that was put before a word is no character of the text.
        if (character !== '▁' || text[at] === '▁' || (text[at] === ' ' && !wordsAreSplit)) {
          at += character.length;
        }
      }
      // A mark alone, put before a character, has that character's place.
      const to = at > from ? at : from + (text.codePointAt(from)! > 0xffff ? 2 : 1);
      return { token, from, to, unknown: tokenizer.token_to_id(token) === undefined };
    });
  };
}

function wordsOf({ pre_tokenizer: splitter }: HubTokenizer, text: string, section: number): string[] {
  return splitter ? splitter.pre_tokenize(text, { section_index: section }) : [text];
}

/** Spaces at a token's ends; of one that is nothing else all are at its beginning. */
function spacesAround(token: string): [before: number, after: number] {
  const before = leading(token, /Ġ/);
  return [before, before === token.length ? 0 : token.length - token.replace(/Ġ+$/, '').length];
}

/** As the library's `encode` does it, neighbours that are unknown being one token for some models. */
function tokensOf({ model }: HubTokenizer, words: string[]): string[] {
  return model!._call(words);
}

/** For each byte of a text's UTF-8 the UTF-16 units of its character. */
function bytesOf(text: string): { starts: number[]; ends: number[] } {
  const starts: number[] = [];
  const ends: number[] = [];
  let at = 0;
  for (const character of text) {
    for (let byte = Buffer.byteLength(character); byte > 0; byte--) {
      starts.push(at);
      ends.push(at + character.length);
    }
    at += character.length;
  }
  return { starts, ends };
}

/** How many characters of this kind a text has in a row, from `from` on. */
function leading(text: string, kind: RegExp, from = 0): number {
  let at = from;
  while (at < text.length && kind.test(text[at]!)) {
    at++;
  }
  return at - from;
}
