import type { Piece, Pieces, Span } from './pieces.ts';
import type { TokenIndex } from './token-index.ts';
import type { Chunking } from './types.ts';

/**
 * Fills chunks with the pieces of a part of the text. Each begins where the one before ended, with the last pieces of that
 * one repeated. The pieces' tokens are estimates, so each chunk is counted as a whole, and made smaller if it must be.
 */
export function* packPieces(
  pieces: Pieces,
  within: Span,
  { size, overlap }: Pick<Chunking, 'size' | 'overlap'>,
  index: TokenIndex,
): Generator<Span> {
  const queue = new PieceQueue(pieces.of(within));
  let repeated: readonly Piece[] = [];
  let budget = size;
  while (queue.peek()) {
    const { kept, fresh } = takeWindow(queue, repeated, budget);
    const window = [...kept, ...fresh];
    const span = { start: window[0]!.start, end: window.at(-1)!.end };
    const tokens = index.exact(span.start, span.end);
    const parts = tokens > size && window.length === 1 ? pieces.divide(window[0]!) : [];
    if (parts.length > 0) {
      queue.putBack(parts);
      budget = size;
    } else if (tokens > size && window.length > 1) {
      queue.putBack(fresh);
      budget = smaller(tokensOf(window), size / tokens);
    } else {
      yield span;
      // Without its first piece, so that each chunk starts after the start of the one before.
      repeated = lastCounted(window.slice(1), overlap, index);
      budget = size;
    }
  }
}

/** As many pieces as `budget` tokens allow. One from the queue is always among them: repeated ones make room for it. */
function takeWindow(queue: PieceQueue, repeated: readonly Piece[], budget: number) {
  const fresh = [queue.take()];
  const kept = lastWithin(repeated, budget - fresh[0]!.tokens);
  let tokens = tokensOf(kept) + fresh[0]!.tokens;
  for (let next = queue.peek(); next && tokens + next.tokens <= budget; next = queue.peek()) {
    tokens += next.tokens;
    fresh.push(queue.take());
  }
  return { kept, fresh };
}

/** About the longest end of a list that has at most `limit` tokens when they are counted. */
function lastCounted(pieces: readonly Piece[], limit: number, index: TokenIndex): readonly Piece[] {
  let last = lastWithin(pieces, limit);
  while (last.length > 0) {
    const tokens = index.exact(last[0]!.start, last.at(-1)!.end);
    if (tokens <= limit) {
      break;
    }
    last = lastWithin(last, smaller(tokensOf(last), limit / tokens));
  }
  return last;
}

/** The next estimate to try after one with too many tokens: smaller by the same share, and at least by one. */
function smaller(estimate: number, share: number): number {
  return Math.min(estimate - 1, Math.floor(estimate * share));
}

/** The longest end of a list that has at most `budget` tokens by estimate. */
function lastWithin(pieces: readonly Piece[], budget: number): readonly Piece[] {
  let from = pieces.length;
  for (let left = budget; from > 0 && pieces[from - 1]!.tokens <= left; from--) {
    left -= pieces[from - 1]!.tokens;
  }
  return pieces.slice(from);
}

function tokensOf(pieces: readonly Piece[]): number {
  return pieces.reduce((sum, piece) => sum + piece.tokens, 0);
}

/** Pieces that are made when they are asked for, and that can be put back. */
class PieceQueue {
  readonly #source: Iterator<Piece>;
  /** Pieces that were put back or looked at, the next one last. */
  readonly #ahead: Piece[] = [];

  constructor(pieces: Iterable<Piece>) {
    this.#source = pieces[Symbol.iterator]();
  }

  peek(): Piece | undefined {
    if (this.#ahead.length === 0) {
      const { done, value } = this.#source.next();
      if (done) {
        return undefined;
      }
      this.#ahead.push(value);
    }
    return this.#ahead.at(-1);
  }

  /** The next piece; there must be one. */
  take(): Piece {
    const piece = this.peek()!;
    this.#ahead.pop();
    return piece;
  }

  putBack(pieces: readonly Piece[]): void {
    this.#ahead.push(...pieces.toReversed());
  }
}
