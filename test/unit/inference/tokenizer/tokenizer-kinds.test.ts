import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { loadTokenizer } from '../../../../src/inference/tokenizer/tokenizer.ts';
import { createModelStore } from '../../../../src/models/store.ts';
import { packageRoot } from '../../../../src/package-root.ts';

const fixtures = join(packageRoot, 'test', 'fixtures', 'tokenizers');
const kinds = readdirSync(fixtures).flatMap((file) => /^(.+)\.golden\.json$/.exec(file)?.[1] ?? []);
const folder = mkdtempSync(join(tmpdir(), 'pgembedder-kinds-'));
afterAll(() => rmSync(folder, { recursive: true }));

interface Golden {
  rows: [text: string, ids: number[]][];
  pairs: [first: string, second: string, ids: number[], types: number[]][];
}

function golden(kind: string): Golden {
  return JSON.parse(readFileSync(join(fixtures, `${kind}.golden.json`), 'utf8'));
}

function load(kind: string, maxTokens = 4096): ReturnType<typeof loadTokenizer> {
  const directory = join(folder, kind);
  cpSync(join(fixtures, `${kind}.json`), join(directory, 'tokenizer.json'));
  const model = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2');
  return loadTokenizer({ ...model, directory, maxTokens });
}

it('has the kinds that models use', () => {
  expect(kinds).toHaveLength(11);
});

describe.each(kinds)('a tokenizer of the kind %s', (kind) => {
  it('gives the ids of the reference', () => {
    const tokenizer = load(kind);
    const rows = golden(kind).rows;
    expect(rows.length).toBeGreaterThan(130);
    for (const [text, ids] of rows) {
      expect([...tokenizer.encode(text)], JSON.stringify(text)).toEqual(ids);
    }
  });

  it('pairs texts as the reference does', () => {
    const tokenizer = load(kind);
    for (const [first, second, ids, types] of golden(kind).pairs) {
      const [pair] = tokenizer.pairsWith([second])(first);
      expect([...pair!.ids], `${first} | ${second}`).toEqual(ids);
      // GPT's kind has no rule for types, and no model of that kind takes them.
      const wanted = kind === 'bpe-gpt' ? types.map(() => 0) : types;
      expect(ids.map((_, index) => (index >= pair!.secondFrom ? 1 : 0))).toEqual(wanted);
    }
  });

  it('cuts a long text and keeps the special tokens at its end', () => {
    const text = 'the quick brown fox 東京 '.repeat(40);
    const whole = [...load(kind).encode(text)];
    const closing = whole.length - load(kind).count(text) > 1 ? whole.slice(-1) : [];
    const cut = [...load(kind, 24).encode(text)];
    expect(cut).toEqual([...whole.slice(0, 24 - closing.length), ...closing]);
  });

  it('takes what is no Unicode, and long words', () => {
    const tokenizer = load(kind);
    for (const text of [
      '\ud800',
      'a\udc00b',
      '\ud83d',
      'x'.repeat(10_000),
      '\u0301'.repeat(5_000),
      '😀'.repeat(3_000),
    ]) {
      const ids = [...tokenizer.encode(text)];
      expect(ids.length).toBeGreaterThan(0);
      expect(ids.every((id) => Number.isInteger(id) && id >= 0 && id < 1_000)).toBe(true);
    }
  });
});
