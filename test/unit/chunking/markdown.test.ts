import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { splitText } from '../../../src/chunking/chunking.ts';
import { markdownSections } from '../../../src/chunking/markdown.ts';
import { packageRoot } from '../../../src/package-root.ts';
import { wordCounter } from './support.ts';

/** Text and headings of each section that is not blank. */
function sections(text: string): [string, string[]][] {
  return markdownSections(text)
    .map(({ start, end, headings }): [string, string[]] => [text.slice(start, end).trim(), headings])
    .filter(([body]) => body);
}

const paths = (text: string) => sections(text).map(([, headings]) => headings.join(' > '));

describe('sections', () => {
  it('follow headings of both kinds, with those above', () => {
    expect(sections('before\n# A\na\n\nB *b*\n---\nb\n### C ###\nc\n## D\nE\n===\ne')).toEqual([
      ['before', []],
      ['# A\na', ['A']],
      ['B *b*\n---\nb', ['A', 'B b']],
      ['### C ###\nc', ['A', 'B b', 'C']],
      ['## D', ['A', 'D']],
      ['E\n===\ne', ['E']],
    ]);
  });

  it('do without levels that are left out and headings without text', () => {
    expect(paths('## A\n#### B\n### C\n# \nx\n## D')).toEqual(['A', 'A > B', 'A > C', '', 'D']);
  });

  it.each([
    ['fences', '```sh\n# no\n```'],
    ['fences with tildes', '~~~\n# no\n```\n# no\n~~~'],
    ['a fence without an end', '```\n# no'],
    ['indented code', 'x\n\n    # no'],
    ['HTML', '<div>\n# no\n</div>'],
    ['comments', '<!--\n\n# no\n\n-->'],
    ['quotes', '> # no\n> no\n> ---'],
    ['lists', '- # no\n- no\n  ---'],
    ['words', '#no\n\n\\# no\n\nno # no'],
    ['tables', '| a |\n|---|\n| # no |'],
  ])('do not start in %s', (_, text) => {
    expect(paths(`# A\n\n${text}`)).toEqual(['A']);
  });

  it('do not start in front matter, but behind it', () => {
    expect(paths('---\ntitle: a\n# no\n---\n# A\nb')).toEqual(['', 'A']);
    expect(paths('---\n\n# A\n\n---\n\n# B')).toEqual(['', 'A', 'B']);
    expect(paths('---\ntitle: a\n# A\nb')).toEqual(['', 'A']);
  });

  it('have headings without markup', () => {
    const text =
      '# **A** `b_c` [d](/e) ![f *g*](h) <i>j</i> &amp; \\* [k] [1.0]\n\n[1.0]: /l\n\nMany\nlines\n=====\n';
    expect(paths(text)).toEqual(['A b_c d f g j & * [k] 1.0', 'Many lines']);
  });

  it('have headings of at most 200 UTF-16 units', () => {
    expect(markdownSections(`# a${'😀'.repeat(200)}`).at(-1)!.headings).toEqual([`a${'😀'.repeat(99)}`]);
  });

  it.each(['\n', '\r\n', '\r'])('are found by any line end: %j', (end) => {
    const text = ['a', '# B\0', '', 'c', '## D', 'e'].join(end);
    expect(sections(text).map(([body]) => body)).toEqual([
      'a',
      ['# B\0', '', 'c'].join(end),
      ['## D', 'e'].join(end),
    ]);
    expect(paths(text)).toEqual(['', 'B\ufffd', 'B\ufffd > D']);
  });

  it('have no gaps', () => {
    const found = markdownSections('a\n# b\n\n\n# c\n');
    expect(found.map(({ start, end }) => [start, end])).toEqual([
      [0, 2],
      [2, 8],
      [8, 12],
    ]);
  });

  it('are those of the lines with # in our docs', () => {
    const docs = readdirSync(join(packageRoot, 'docs')).filter((name) => name.endsWith('.md'));
    for (const name of docs) {
      const text = readFileSync(join(packageRoot, 'docs', name), 'utf8');
      const titles = text
        .replace(/^```[\s\S]*?^```/gm, '')
        .match(/^#{1,6} .*/gm)!
        .map((line) => line.replace(/^#+ /, '').replace(/[`*_\\]/g, ''));
      const found = markdownSections(text).flatMap(({ headings }) => headings.at(-1) ?? []);
      expect(found.map((title) => title.replace(/[`*_\\]/g, ''))).toEqual(titles);
    }
    expect(docs.length).toBeGreaterThan(1);
  });
});

it('divides each section by itself, with the same headings', () => {
  const text = '😀\n# A\n1 2. 3 4 5.\n\n## B\n5';
  expect(splitText(text, { strategy: 'markdown', size: 4, overlap: 1 }, wordCounter)).toEqual([
    { text: '😀', start: 0, end: 1, headings: [] },
    { text: '# A\n1 2.', start: 2, end: 10, headings: ['A'] },
    { text: '3 4 5.', start: 11, end: 17, headings: ['A'] },
    { text: '## B\n5', start: 19, end: 25, headings: ['A', 'B'] },
  ]);
});
