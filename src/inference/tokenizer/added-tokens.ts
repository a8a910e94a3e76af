/** A token that is found in a text as it is written. */
interface AddedToken {
  readonly content: string;
  /** Whether the white space before or after it belongs to it. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** A part of a text, in UTF-16 units. */
export interface Section {
  readonly from: number;
  readonly to: number;
  /** The token that it is; null for what is between such tokens. */
  readonly token: string | null;
}

/** White space as the reference tokenizer knows it. */
const SPACES_AT_BEGINNING = /^\p{White_Space}+/u;
const SPACES_AT_END = /\p{White_Space}+$/u;

/** The tokens that are cut out of a text before the rest of it becomes tokens, such as "[MASK]". */
export class AddedTokens {
  readonly #tokens: ReadonlyMap<string, AddedToken>;
  /** Finds one; null when there are none. */
  readonly #pattern: RegExp | null;

  constructor(tokens: readonly AddedToken[]) {
    this.#tokens = new Map(tokens.map((token) => [token.content, token]));
    // The longest first: a shorter one may be how it begins.
    const contents = [...this.#tokens.keys()].filter(Boolean).sort((a, b) => b.length - a.length);
    this.#pattern = contents.length > 0 ? new RegExp(contents.map(literally).join('|'), 'g') : null;
  }

  /** The added tokens of a text and what is between them, without empty parts. */
  split(text: string): Section[] {
    const sections: Section[] = [];
    let at = 0;
    for (const match of this.#pattern ? text.matchAll(this.#pattern) : []) {
      const [token] = match;
      const { lstrip, rstrip } = this.#tokens.get(token)!;
      const end = match.index + token.length;
      const from = lstrip ? at + text.slice(at, match.index).replace(SPACES_AT_END, '').length : match.index;
      const to = rstrip ? text.length - text.slice(end).replace(SPACES_AT_BEGINNING, '').length : end;
      sections.push({ from: at, to: from, token: null }, { from, to, token });
      at = to;
    }
    sections.push({ from: at, to: text.length, token: null });
    return sections.filter(({ from, to }) => to > from);
  }
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
