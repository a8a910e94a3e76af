import { execFileSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { cpSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { describe, expect, it, onTestFinished } from 'vitest';
import { menderFor } from '../../../../src/inference/tokenizer/bert-text.ts';
import { loadTokenizer } from '../../../../src/inference/tokenizer/tokenizer.ts';
import { createModelStore } from '../../../../src/models/store.ts';
import { extraModels, goldenRows, hasExtraModels } from '../golden.ts';

const store = createModelStore({ directories: [extraModels] });
const minilm = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction');
const definition = JSON.parse(readFileSync(join(minilm.directory, 'tokenizer.json'), 'utf8'));
const hub = new HubTokenizer(definition, {});
const mend = menderFor(definition);

/** The ids of the whole text, cut to `limit` afterwards: what `encode` has to give without seeing all of it. */
function wholeThenCut(text: string, limit: number): number[] {
  const ids: number[] = hub.encode(mend(text)).ids;
  return ids.length <= limit ? ids : [...ids.slice(0, limit - 1), 102];
}

describe('token ids', () => {
  const tokenizer = loadTokenizer(minilm);

  it.each(goldenRows('minilm'))('are those of the reference: $text', ({ text, ids }) => {
    expect([...tokenizer.encode(text)]).toEqual(ids);
  });

  it.skipIf(!hasExtraModels)('are those of the reference for bge-small', () => {
    const bge = loadTokenizer(store.find('Xenova/bge-small-en-v1.5'));
    const rows = goldenRows('bge-small');
    expect(rows.map(({ text }) => [...bge.encode(text)])).toEqual(rows.map(({ ids }) => ids));
  });

  // From the reference tokenizer (tokenizers 0.22 in Python), which the library differs from in these.
  it.each([
    ['ΟΔΟΣ ΣΑΣ', [101, 1169, 29722, 29730, 29733, 1173, 14608, 29733, 102]],
    ['𠀀𠀁 a𠀀b', [101, 100, 100, 1037, 100, 1038, 102]],
    ['[SEP] hi [CLS][MASK]x', [101, 102, 7632, 101, 103, 1060, 102]],
  ])('are those of the reference: %s', (text, ids) => {
    expect([...tokenizer.encode(text)]).toEqual(ids);
  });

  it('do not depend on the truncation and padding in tokenizer.json', () => {
    expect(definition.truncation.max_length).toBe(128);
    expect(definition.padding.strategy).toEqual({ Fixed: 128 });
    expect(tokenizer.encode('word').length).toBe(3);
    expect(tokenizer.encode('word '.repeat(200)).length).toBe(202);
  });

  it('end at the limit, with the separator last', () => {
    for (const limit of [3, 4, 128, 256]) {
      const ids = loadTokenizer({ ...minilm, maxTokens: limit }).encode('one two three '.repeat(200));
      expect([...ids]).toEqual(wholeThenCut('one two three '.repeat(200), limit));
      expect(ids.length).toBe(limit);
      expect(ids.at(-1)).toBe(102);
    }
    expect(tokenizer.encode('word '.repeat(254)).length).toBe(256);
    expect(tokenizer.encode('word '.repeat(255)).length).toBe(256);
  });
});

describe('a count', () => {
  const tokenizer = loadTokenizer(minilm);

  it('leaves out the special tokens and has no limit', () => {
    expect(tokenizer.count('')).toBe(0);
    expect(tokenizer.count('unbelievable 𠀀𠀁 \ud800')).toBe(
      tokenizer.encode('unbelievable 𠀀𠀁 \ud800').length - 2,
    );
    expect(tokenizer.count('word '.repeat(1_000))).toBe(1_000);
  });
});

describe('a long text', () => {
  const pieces = [
    'word ',
    'unbelievable',
    ' ',
    '    ',
    '\n\n',
    '\t',
    '\v',
    '中文',
    '中',
    '😀',
    '👩‍👩‍👧‍👦',
    '𠀀',
    'é',
    'e\u0301',
    '\u0301',
    '.',
    '!?',
    '[SEP]',
    '[MASK]',
    '[',
    '##ing',
    'ΟΔΟΣ',
    'Σ',
    'İ',
    '\ud800',
    '\udc00',
    '\u0000',
    '\ufeff',
    '\u00a0',
    'x'.repeat(99),
    'x'.repeat(101),
    '한국어',
    'ﬁ',
    '-',
    "'",
  ];

  /** The same pieces in the same order in each run. */
  function text(seed: number, length: number): string {
    let state = seed;
    return Array.from({ length }, () => {
      state = (state * 48271) % 2147483647;
      return pieces[state % pieces.length];
    }).join('');
  }

  it('has exactly the ids it would have if all of it were looked at', () => {
    for (const limit of [4, 16, 64]) {
      const tokenizer = loadTokenizer({ ...minilm, maxTokens: limit });
      for (let seed = 1; seed <= 150; seed++) {
        const nasty = text(seed * 7919, 5 + (seed % 10) * limit);
        expect([...tokenizer.encode(nasty)], `seed ${seed}`).toEqual(wholeThenCut(nasty, limit));
      }
    }
  });

  it.each([
    ['one long word', 'x'.repeat(100_000)],
    ['a long word after short ones', `a b ${'x'.repeat(100_000)} c`],
    ['spaces', ' '.repeat(100_000)],
    ['words far apart', `a${' '.repeat(50_000)}b${' '.repeat(50_000)}c`],
    ['Chinese', '中'.repeat(100_000)],
    ['rare Chinese', '𠀀'.repeat(50_000)],
    ['emoji', '😀'.repeat(50_000)],
    ['accents alone', '\u0301'.repeat(100_000)],
    ['marks', '!'.repeat(50_000)],
    ['lone surrogates', '\ud800'.repeat(50_000)],
  ])('made of %s has them too', (_, nasty) => {
    expect([...loadTokenizer(minilm).encode(nasty)]).toEqual(wholeThenCut(nasty, 256));
  });

  it('is looked at only as far as it counts', () => {
    const tokenizer = loadTokenizer(minilm);
    const read: number[] = [];
    const normalizer = HubTokenizer.prototype.encode;
    HubTokenizer.prototype.encode = function (this: HubTokenizer, piece: string, ...rest: never[]) {
      read.push(piece.length);
      return normalizer.call(this, piece, ...rest);
    };
    try {
      tokenizer.encode('a rather ordinary sentence, '.repeat(50_000));
    } finally {
      HubTokenizer.prototype.encode = normalizer;
    }
    expect(read).toHaveLength(1);
    expect(read[0]).toBeLessThanOrEqual(256 * 16);
  });
});

describe('a tokenizer that cannot be used', () => {
  const copy = (change: (directory: string) => void) => {
    const directory = mkdtempSync(join(tmpdir(), 'pgembedder-tokenizer-'));
    onTestFinished(() => rmSync(directory, { recursive: true }));
    cpSync(join(minilm.directory, 'tokenizer.json'), join(directory, 'tokenizer.json'));
    change(directory);
    return () => loadTokenizer({ ...minilm, directory });
  };

  it('works without tokenizer_config.json', () => {
    expect([...copy(() => {})().encode('a')]).toEqual([101, 1037, 102]);
  });

  it.each([
    ['broken JSON', '{"model":', /tokenizer\.json cannot be read/],
    ['no object', '7', /does not hold a JSON object/],
    ['another shape', '{}', /tokenizer\.json cannot be used/],
    ['an unknown model', JSON.stringify({ ...definition, model: { type: 'Abacus' } }), /cannot be used/],
  ])('is a UserError: %s', (_, content, message) => {
    const load = copy((directory) => writeFileSync(join(directory, 'tokenizer.json'), content));
    expect(load).toThrow(
      expect.objectContaining({ name: 'UserError', message: expect.stringMatching(message) }),
    );
  });

  it.each<[string, (path: string) => void, RegExp]>([
    [
      'of 1 GB',
      (path) => truncateSync(path, 2 ** 30),
      /has 1073741824 bytes, and at most 134217728 are read/,
    ],
    ['cut short', (path) => truncateSync(path, 100_000), /tokenizer\.json cannot be read: .*JSON/],
    ['of random bytes', (path) => writeFileSync(path, randomBytes(100_000)), /cannot be read: ./],
    [
      'a pipe that nobody writes to',
      (path) => {
        rmSync(path);
        execFileSync('mkfifo', [path]);
      },
      /cannot be read: it is no ordinary file/,
    ],
    ['not there', (path) => rmSync(path), /cannot be read: there is no such file/],
    [
      'nested 100,000 times',
      (path) =>
        writeFileSync(
          path,
          `{"normalizer":${'{"type":"Sequence","normalizers":['.repeat(100_000)}${']}'.repeat(100_000)}}`,
        ),
      /tokenizer\.json cannot be used/,
    ],
    [
      'that knows no letter',
      (path) =>
        writeFileSync(path, JSON.stringify({ ...definition, model: { type: 'BPE', vocab: {}, merges: [] } })),
      /cannot be used: it has no token for any letter/,
    ],
    [
      'whose vocabulary is a number',
      (path) =>
        writeFileSync(path, JSON.stringify({ ...definition, model: { ...definition.model, vocab: 7 } })),
      /cannot be used/,
    ],
  ])('is a UserError in one line: %s', (_, damage, message) => {
    const load = copy((directory) => damage(join(directory, 'tokenizer.json')));
    let error: unknown;
    try {
      load();
    } catch (raised) {
      error = raised;
    }
    expect(error).toMatchObject({ name: 'UserError', message: expect.stringMatching(message) });
    expect((error as Error).message).not.toContain('\n');
    expect((error as Error).message.length).toBeLessThan(500);
  });

  it('is a UserError: no room for a token', () => {
    expect(() => loadTokenizer({ ...minilm, maxTokens: 2 })).toThrow(/leaves no room/);
  });
});
