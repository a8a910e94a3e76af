import { UserError } from './errors.ts';

/** What is refused or cut, in one place. Lengths of texts are in UTF-16 units, as JavaScript counts them. */
export const limits = {
  /**
   * Longest text of a call; a longer one is refused. It is all in memory, several times over. No model sees so much:
   * a text is cut at the model's own limit of tokens, and a longer one is to be cut into chunks before.
   */
  textCharacters: 10_000_000,
  /**
   * Characters that are looked at for each token the model takes, the rest is cut off. A word of more than 100
   * characters is one unknown token to WordPiece, and no usual vocabulary has longer pieces of words.
   */
  charactersPerToken: 100,
  /** Most texts of a call that somebody waits for; OpenAI's limit for embeddings is the same. */
  textsPerCall: 2_048,
  /** Most labels of zero-shot classification: as many sequences for each text. */
  labels: 1_000,
  /** Longest label, and longest hypothesis_template or prompt. */
  labelCharacters: 1_000,
  templateCharacters: 1_000,
  promptCharacters: 10_000,
  /**
   * Sequences that are made ready for the model at a time where a text is several of them: 1,000 texts with 1,000 labels
   * are a million. 32 MB at 512 tokens each.
   */
  sequencesAtOnce: 16_384,
  /**
   * Most sequences of a session that wait for the engine ahead of the queue; who comes then is refused. About ten seconds
   * of short texts with the bundled model on 2 cores.
   */
  waitingSequences: 16_384,
  /** Most connections to the HTTP server at a time; further ones are closed at once. */
  httpConnections: 1_024,
} as const;

/**
 * Checks the texts of a call that somebody waits for. A worker, which waits for nobody, gives as many texts as it has
 * and reads no more of each than the model can use.
 * @throws UserError for too many of them, and for one that is too long.
 */
export function checkTexts(texts: readonly string[]): void {
  if (texts.length > limits.textsPerCall) {
    throw new UserError(
      `The call has ${grouped(texts.length)} texts, and may have ${grouped(limits.textsPerCall)}`,
      { hint: 'Give them in several calls' },
    );
  }
  const long = texts.findIndex((text) => text.length > limits.textCharacters);
  if (long >= 0) {
    const length = grouped(texts[long]!.length);
    throw new UserError(
      `Text ${long + 1} of the call has ${length} characters, and may have ${grouped(limits.textCharacters)}`,
      { hint: 'Cut it into parts: a model sees only the beginning of such a text' },
    );
  }
}

/**
 * The part of a text that is looked at for so many tokens. Not for WordPiece, whose long words cost nothing: other kinds
 * of tokenizers look for the best pieces of a word, however long it is, and without spaces a whole text is one.
 */
export function seenPart(text: string, tokens: number): string {
  const most = tokens * limits.charactersPerToken;
  if (text.length <= most) {
    return text;
  }
  const last = text.charCodeAt(most - 1);
  // Not through a character of two units.
  return text.slice(0, last >= 0xd800 && last <= 0xdbff ? most - 1 : most);
}

/** With commas between the thousands. */
function grouped(value: number): string {
  return value.toLocaleString('en');
}
