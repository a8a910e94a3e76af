import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import { menderFor } from '../../../../src/inference/tokenizer/bert-text.ts';
import { TokenOffsets } from '../../../../src/inference/tokenizer/offsets.ts';
import { sourceText } from '../../../../src/inference/tokenizer/source-text.ts';
import { loadTokenizer } from '../../../../src/inference/tokenizer/tokenizer.ts';
import { createModelStore } from '../../../../src/models/store.ts';

const minilm = createModelStore({ directories: [] }).find('all-MiniLM-L6-v2');
const definition = JSON.parse(readFileSync(join(minilm.directory, 'tokenizer.json'), 'utf8'));
const hub = new HubTokenizer(definition, {});
const offsets = new TokenOffsets(hub, definition, menderFor(definition));

/** Each token with the part of the text it stands for, counted in code points. */
function parts(text: string): [string, string][] {
  const characters = Array.from(text);
  return offsets.places(text).map(({ token, start, end }) => [token, characters.slice(start, end).join('')]);
}

describe('places of tokens', () => {
  it.each<[string, [string, string][]]>([
    [
      'Zoë lives',
      [
        ['zoe', 'Zoë'],
        ['lives', 'lives'],
      ],
    ],
    [
      '  Århus.',
      [
        ['ar', 'År'],
        ['##hus', 'hus'],
        ['.', '.'],
      ],
    ],
    // An accent of its own is dropped, and the place ends before it: so the reference has it.
    [
      'cafe\u0301 x',
      [
        ['cafe', 'cafe'],
        ['x', 'x'],
      ],
    ],
    [
      '東京 is',
      [
        ['東', '東'],
        ['京', '京'],
        ['is', 'is'],
      ],
    ],
    [
      '😀 cat 👍🏽 dog',
      [
        ['[UNK]', '😀'],
        ['cat', 'cat'],
        ['[UNK]', '👍🏽'],
        ['dog', 'dog'],
      ],
    ],
    [
      'a\u0000b\u200bc dog',
      [
        ['abc', 'a\u0000b\u200bc'],
        ['dog', 'dog'],
      ],
    ],
    [
      'cat[MASK]dog',
      [
        ['cat', 'cat'],
        ['[MASK]', '[MASK]'],
        ['dog', 'dog'],
      ],
    ],
    [
      '𠀀𠀁 cat',
      [
        ['[UNK]', '𠀀'],
        ['[UNK]', '𠀁'],
        ['cat', 'cat'],
      ],
    ],
    [
      `${'x'.repeat(101)} cat`,
      [
        ['[UNK]', 'x'.repeat(101)],
        ['cat', 'cat'],
      ],
    ],
    ['', []],
    [' \n\u200b', []],
  ])('%j', (text, expected) => {
    expect(parts(text)).toEqual(expected);
  });

  it('are those of a Hangul syllable for each of its letters', () => {
    const [first, ...letters] = offsets.places('x 한국');
    expect(first).toMatchObject({ start: 0, end: 1 });
    expect(letters.length).toBeGreaterThan(2);
    expect(new Set(letters.map(({ start, end }) => `${start}-${end}`))).toEqual(new Set(['2-3', '3-4']));
  });

  it('belong to the ids that the text has, also when it is cut', () => {
    for (const maxTokens of [5, 12, 256]) {
      const tokenizer = loadTokenizer({ ...minilm, maxTokens });
      const encode = tokenizer.withPlaces();
      for (const text of ['', 'Zoë lives in Århus with 東京 and 😀 [SEP] more ', 'unaffable '.repeat(400)]) {
        const { ids, places, opening } = encode(text);
        expect([...ids]).toEqual([...tokenizer.encode(text)]);
        expect(places.map(({ token }) => hub.token_to_id(token))).toEqual([...ids.slice(opening, -1)]);
      }
    }
  });

  it('are refused for a tokenizer of another kind', () => {
    const other = { ...definition, model: { type: 'WordLevel', vocab: {} } };
    expect(() => new TokenOffsets(hub, other, (text) => text)).toThrow(/its kind \(WordLevel\)/);
  });
});

describe('added tokens', () => {
  const added = (content: string, more: object) => ({
    id: 30_000,
    content,
    special: false,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    ...more,
  });
  const placesWith = (token: object, text: string) => {
    const more = { ...definition, added_tokens: [...definition.added_tokens, token] };
    const tokenizer = new HubTokenizer(more, {});
    const found = new TokenOffsets(tokenizer, more, menderFor(more)).places(text);
    expect(found.map(({ token }) => token)).toEqual(tokenizer.encode(text).tokens.slice(1, -1));
    return found.map(({ token, start, end }) => [token, start, end]);
  };

  it('are found as they are written, or as they are normalized', () => {
    expect(placesWith(added('Zoë-7', {}), 'a Zoë-7b zoe')).toEqual([
      ['a', 0, 1],
      ['Zoë-7', 2, 7],
      ['b', 7, 8],
      ['zoe', 9, 12],
    ]);
    expect(placesWith(added('Zoë-7', { normalized: true }), '😀 ZOE-7b Zoë-7')).toEqual([
      ['[UNK]', 0, 1],
      ['zoe-7', 2, 7],
      ['b', 7, 8],
      ['zoe-7', 9, 14],
    ]);
  });

  it('may take the white space beside them', () => {
    expect(placesWith(added('<x>', { lstrip: true, rstrip: true }), 'a  <x> \n b<x>')).toEqual([
      ['a', 0, 1],
      ['<x>', 1, 9],
      ['b', 9, 10],
      ['<x>', 10, 13],
    ]);
  });
});

/** A tokenizer made by hand, of whose kind no model comes with the package. */
function small(parts: object): TokenOffsets {
  const whole = { normalizer: null, post_processor: null, decoder: null, added_tokens: [], ...parts };
  return new TokenOffsets(new HubTokenizer(whole, {}), whole, (text) => text);
}

function placesIn(made: TokenOffsets, text: string) {
  return made.places(text).map(({ token, start, end, continues }) => [token, start, end, continues]);
}

describe('places of byte-level tokens', () => {
  const tokens = ['Ġ', 'c', 'a', 't', 'ca', 'cat', 'Ġcat', 'ð', 'Ł', 'ĺ', 'Ģ', 'Ã', '©', 'Ċ'];
  const made = small({
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
      merges: ['c a', 'ca t', 'Ġ cat'],
    },
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    post_processor: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
  });

  it('leave the space before a word out, and are those of the character for each of its bytes', () => {
    expect(placesIn(made, 'cat cat  é😀cat')).toEqual([
      ['cat', 0, 3, false],
      ['Ġcat', 4, 7, false],
      ['Ġ', 8, 8, false],
      ['Ġ', 9, 9, false],
      ['Ã', 9, 10, false],
      ['©', 9, 10, false],
      ...['ð', 'Ł', 'ĺ', 'Ģ'].map((token) => [token, 10, 11, true]),
      ['cat', 11, 14, true],
    ]);
  });
});

describe('places of SentencePiece tokens', () => {
  const vocab = ['<unk>', '▁', '▁cat', 'cat', 's', '▁é'].map((token) => [token, token === '<unk>' ? 0 : -1]);
  const metaspace = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'always', split: true };
  const model = { type: 'Unigram', unk_id: 0, vocab };

  it('take the space before a word along where the tokenizer does', () => {
    expect(placesIn(small({ model, pre_tokenizer: metaspace }), 'cats cat 😀s')).toEqual([
      ['▁cat', 0, 3, false],
      ['s', 3, 4, true],
      ['▁cat', 4, 8, false],
      ['▁', 8, 9, false],
      ['😀', 9, 10, false],
      ['s', 10, 11, true],
    ]);
  });

  it('leave it out where words are split first', () => {
    const splitter = { type: 'Sequence', pretokenizers: [{ type: 'WhitespaceSplit' }, metaspace] };
    expect(placesIn(small({ model, pre_tokenizer: splitter }), 'cats \n cat 😀')).toEqual([
      ['▁cat', 0, 3, false],
      ['s', 3, 4, true],
      ['▁cat', 7, 10, false],
      ['▁', 11, 12, false],
      ['😀', 11, 12, false],
    ]);
  });
});

describe('sourceText', () => {
  it('takes a character with its marks where they become one', () => {
    const { text, starts, ends } = sourceText('xe\u0301y', (part) => part.normalize('NFC'));
    expect([text, starts, ends]).toEqual(['xéy', [0, 1, 3], [1, 3, 4]]);
  });

  it('takes a word where its characters depend on each other', () => {
    const { starts, ends } = sourceText('ab ΟΔΟΣ', (part) => part.toLowerCase(), 10);
    expect(starts).toEqual([10, 11, 12, 13, 13, 13, 13]);
    expect(ends).toEqual([11, 12, 13, 17, 17, 17, 17]);
  });

  it('takes all where words do', () => {
    const { text, starts, ends } = sourceText(' a ', (part) => part.trim());
    expect([text, starts, ends]).toEqual(['a', [1], [2]]);
    expect(sourceText('ab', (part) => `>${part}`)).toEqual({
      text: '>ab',
      starts: [0, 0, 0],
      ends: [2, 2, 2],
    });
  });
});
