import type { Level } from './levels.ts';
import type { TokenIndex } from './token-index.ts';

/** A part of a text, as offsets in UTF-16 units; `end` is exclusive. */
export interface Span {
  start: number;
  end: number;
}

/** A part of a text that stays together if it can. */
export interface Piece extends Span {
  /** Estimated tokens, at least 1. */
  tokens: number;
  /** The level at which it would be divided next. */
  level: number;
}

export interface Pieces {
  /** The pieces of a part of the text, in order; only whitespace lies between them. */
  of(span: Span): Iterable<Piece>;
  /** The parts of a piece that turned out too long; [] when it cannot be divided. */
  divide(piece: Piece): Piece[];
}

/** Divides parts of a text by levels: what is small enough at one level stays whole, the rest is divided at the next. */
export function createPieces(text: string, index: TokenIndex, levels: readonly Level[]): Pieces {
  function* collect(start: number, end: number, level: number): Generator<Piece> {
    const tokens = index.estimate(start, end);
    if (tokens === 0) {
      return;
    }
    const here = levels[level];
    if (!here || tokens <= here.above) {
      yield { start, end, tokens, level };
      return;
    }
    yield* parts(start, end, level);
  }

  function* parts(start: number, end: number, level: number): Generator<Piece> {
    let from = start;
    for (const cut of levels[level]!.boundaries(text.slice(start, end))) {
      const to = start + cut;
      if (to > from && to < end) {
        yield* collect(from, to, level + 1);
        from = to;
      }
    }
    yield* collect(from, end, level + 1);
  }

  return {
    of: ({ start, end }) => collect(start, end, 0),
    divide({ start, end, level: first }) {
      for (let level = first; level < levels.length; level++) {
        const divided = [...parts(start, end, level)];
        if (divided.length > 1) {
          return divided;
        }
      }
      return [];
    },
  };
}
