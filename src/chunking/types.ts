/** How texts are cut into chunks. Made from what users give by `parseChunking`. */
export interface Chunking {
  /**
   * `tokens`: windows of words. `recursive`: paragraphs, then lines, sentences and words where a piece is too long.
   * `markdown`: recursive within each section, with the headings above it.
   */
  strategy: 'tokens' | 'recursive' | 'markdown';
  /** The most tokens of a chunk, special tokens not counted. */
  size: number;
  /** The most tokens that a chunk repeats from the end of the one before it. */
  overlap: number;
  /** Strings to cut at, coarse ones first, instead of paragraphs, lines and sentences. Not for `tokens`. */
  separators?: string[] | undefined;
}

/** A part of a text. */
export interface Chunk {
  /** The part itself, without whitespace around it. */
  text: string;
  /** Where it starts in the text, in Unicode code points from 0: `substring(source from start + 1 for end - start)`. */
  start: number;
  /** Where it ends, in code points; exclusive. */
  end: number;
  /** The Markdown headings above it and its own, without markup, the outermost first; [] for other strategies. */
  headings: string[];
}
