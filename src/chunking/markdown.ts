import MarkdownIt from 'markdown-it';
import { splitsPair } from './code-points.ts';
import type { Span } from './pieces.ts';

type Token = ReturnType<typeof markdown.parseInline>[number];
/** The parser's place for the definitions that links refer to. */
type References = NonNullable<Parameters<typeof markdown.parseInline>[1]>;

/** A heading and the text up to the next one, or the text before the first heading. */
export interface Section extends Span {
  /** The headings above and its own, without markup, the outermost first. Headings without text are left out. */
  headings: string[];
}

/** UTF-16 units of a heading that are kept: it is repeated with each chunk of its section. */
const LONGEST_HEADING = 200;

// With markdown-it's rules for CommonMark, where nesting ends at 20 levels. Headings inside quotes and lists make no
// sections.
const markdown = new MarkdownIt('commonmark');

/**
 * The sections of a Markdown document, in order and without gaps. Only blocks are parsed, and inline markup
 * only in headings: this takes a twentieth of the time of a whole parse, and is fast for every text.
 */
export function markdownSections(text: string): Section[] {
  const starts = lineStarts(text);
  const sections: Section[] = [{ start: 0, end: text.length, headings: [] }];
  const path: string[] = [];
  for (const { line, depth, title } of headingsOf(text)) {
    path.length = Math.min(path.length, depth - 1);
    path[depth - 1] = title;
    const start = starts[line]!;
    sections.at(-1)!.end = start;
    sections.push({ start, end: text.length, headings: path.filter((each) => each) });
  }
  return sections;
}

/** Where each line starts, by the line ends that `normalized` knows. */
function lineStarts(text: string): number[] {
  return [0, ...Array.from(text.matchAll(/\r\n?|\n/g), (end) => end.index + end[0].length)];
}

interface Heading {
  /** The line it starts in, from 0. */
  line: number;
  /** 1 to 6. */
  depth: number;
  title: string;
}

function headingsOf(text: string): Heading[] {
  const references: References = {};
  const tokens: Token[] = [];
  markdown.block.parse(normalized(text), markdown, references, tokens);
  return tokens.flatMap((token, place) =>
    token.type === 'heading_open' && token.level === 0
      ? [
          {
            line: token.map![0],
            depth: Number(token.tag.slice(1)),
            title: plainText(tokens[place + 1]!.content, references),
          },
        ]
      : [],
  );
}

/** The text for the block parser, with the same lines; those of front matter are made empty. */
function normalized(text: string): string {
  const unix = text.replace(/\r\n?/g, '\n').replaceAll('\0', '\ufffd');
  if (!/^---[ \t]*\n[\w-]+[ \t]*:/.test(unix)) {
    return unix;
  }
  // To CommonMark the last line of front matter would underline a heading.
  const close = /\n---[ \t]*(?:\n|$)/.exec(unix);
  return close ? unix.slice(0, close.index).replace(/.+/g, '') + unix.slice(close.index + 4) : unix;
}

/** A heading without markup. One that is too long is cut, and keeps its markup. */
function plainText(source: string, references: References): string {
  if (source.length > LONGEST_HEADING) {
    const end = splitsPair(source, LONGEST_HEADING) ? LONGEST_HEADING - 1 : LONGEST_HEADING;
    return source.slice(0, end).trim();
  }
  const [inline] = markdown.parseInline(source, references);
  return visible(inline!.children ?? [])
    .replace(/\s+/g, ' ')
    .trim();
}

function visible(tokens: readonly Token[]): string {
  return tokens.map(visibleOf).join('');
}

function visibleOf(token: Token): string {
  switch (token.type) {
    case 'image':
      return visible(token.children ?? []);
    case 'softbreak':
    case 'hardbreak':
      return ' ';
    case 'html_inline':
      return '';
    default:
      return token.content;
  }
}
