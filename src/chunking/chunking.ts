import { codePointCursor } from './code-points.ts';
import { levelsOf } from './levels.ts';
import { markdownSections } from './markdown.ts';
import { packPieces } from './pack.ts';
import { createPieces } from './pieces.ts';
import { type TokenCounter, TokenIndex } from './token-index.ts';
import type { Chunk, Chunking } from './types.ts';

/**
 * Cuts a text into chunks, in its order. Together they hold all of the text but whitespace between them.
 *
 * A chunk has at most `size` tokens, unless it is one character that alone has more. The same text gives the same
 * chunks, and text put to the end changes no more than the last two chunks (of the last two sections, for Markdown),
 * so the vectors of the others can stay. Sentences and characters are those of the ICU that Node.js comes with.
 *
 * Time is linear in the length of the text: each different word and each chunk is tokenized once.
 */
export function splitText(text: string, chunking: Chunking, counter: TokenCounter): Chunk[] {
  const index = new TokenIndex(text, counter);
  const pieces = createPieces(text, index, levelsOf(chunking));
  const sections =
    chunking.strategy === 'markdown'
      ? markdownSections(text)
      : [{ start: 0, end: text.length, headings: [] }];
  // Starts and ends each only grow, but a chunk may start before the end of the one before it.
  const startOf = codePointCursor(text);
  const endOf = codePointCursor(text);
  const chunks: Chunk[] = [];
  for (const { start, end, headings } of sections) {
    for (const span of packPieces(pieces, { start, end }, chunking, index)) {
      const raw = text.slice(span.start, span.end);
      const visible = raw.trim();
      const from = span.start + raw.length - raw.trimStart().length;
      chunks.push({
        text: visible,
        start: startOf(from),
        end: endOf(from + visible.length),
        headings,
      });
    }
  }
  return chunks;
}
