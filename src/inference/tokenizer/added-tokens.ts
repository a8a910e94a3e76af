/** A token that is found in a text as it is written. */
interface AddedToken {
  readonly content: string;
  /** Whether the white space before or after it belongs to no token. */
  readonly lstrip: boolean;
  readonly rstrip: boolean;
}

/** A part of a text, in UTF-16 units. */
export interface Section {
  readonly from: number;
  readonly to: number;
  readonly isAdded: boolean;
}

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
      const { lstrip, rstrip } = this.#tokens.get(match[0])!;
      const before = text.slice(at, match.index);
      sections.push({ from: at, to: at + (lstrip ? before.trimEnd() : before).length, isAdded: false });
      const end = match.index + match[0].length;
      sections.push({ from: match.index, to: end, isAdded: true });
      at = rstrip ? text.length - text.slice(end).trimStart().length : end;
    }
    sections.push({ from: at, to: text.length, isAdded: false });
    return sections.filter(({ from, to }) => to > from);
  }
}

function literally(text: string): string {
  return text.replace(/[\\^$.*+?()[\]{}|]/g, '\\$&');
}
