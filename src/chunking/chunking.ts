import { setImmediate as nextTurn } from 'node:timers/promises';
import { codePointCursor } from './code-points.ts';
import { levelsOf } from './levels.ts';
import { markdownSections } from './markdown.ts';
import { packPieces } from './pack.ts';
import { createPieces } from './pieces.ts';
import { type TokenCounter, TokenIndex } from './token-index.ts';
import type { Chunk, Chunking } from './types.ts';

/** The longest that one text may keep everything else waiting. */
const SLICE_MS = 20;

/**
 * Cuts a text into chunks, in order. Together they hold the whole text, except for whitespace between them.
 *
 * A chunk has at most `size` tokens, unless it is one character that alone has more. The same text gives the same
 * chunks, and text put to the end changes no more than the last two chunks (of the last two sections, for Markdown),
 * so the vectors of the others can stay. Sentences and characters are those of the ICU that Node.js comes with.
 *
 * Time is linear in the length of the text: each different word and each chunk is tokenized once.
 */
export function splitText(text: string, chunking: Chunking, counter: TokenCounter): Chunk[] {
  return [...chunksWithPauses(text, chunking, counter)].filter((chunk) => chunk !== undefined);
}

/** Does what `splitText` does, with pauses in which other work gets its turn: a book takes seconds. */
export async function splitTextInSlices(
  text: string,
  chunking: Chunking,
  counter: TokenCounter,
): Promise<Chunk[]> {
  const chunks: Chunk[] = [];
  let turn = performance.now();
  for (const chunk of chunksWithPauses(text, chunking, counter)) {
    if (chunk) chunks.push(chunk);
    if (performance.now() - turn < SLICE_MS) continue;
    await nextTurn();
    turn = performance.now();
  }
  return chunks;
}

/** The chunks of a text, and undefined where a pause is possible. */
function* chunksWithPauses(
  text: string,
  chunking: Chunking,
  counter: TokenCounter,
): Generator<Chunk | undefined> {
  const index = new TokenIndex(text, counter);
  yield* index.read();
  const pieces = createPieces(text, index, levelsOf(chunking));
  const sections =
    chunking.strategy === 'markdown'
      ? markdownSections(text)
      : [{ start: 0, end: text.length, headings: [] }];
  // Starts and ends each only grow, but a chunk may start before the end of the one before it.
  const startOf = codePointCursor(text);
  const endOf = codePointCursor(text);
  for (const { start, end, headings } of sections) {
    for (const span of packPieces(pieces, { start, end }, chunking, index)) {
      const raw = text.slice(span.start, span.end);
      const visible = raw.trim();
      const from = span.start + raw.length - raw.trimStart().length;
      yield {
        text: visible,
        start: startOf(from),
        end: endOf(from + visible.length),
        headings,
      };
    }
  }
}
