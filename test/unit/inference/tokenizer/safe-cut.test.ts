import { Tokenizer as HubTokenizer } from '@huggingface/tokenizers';
import { describe, expect, it } from 'vitest';
import { safeCutOf } from '../../../../src/inference/tokenizer/safe-cut.ts';

const bert = {
  normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
  pre_tokenizer: { type: 'BertPreTokenizer' },
  added_tokens: [{ content: '[SEP]' }],
};
const byteLevel = { normalizer: null, pre_tokenizer: { type: 'ByteLevel' }, added_tokens: [] };

describe('safeCutOf', () => {
  it('cuts BERT text before a space or a Chinese character, at the last one in reach', () => {
    const cut = safeCutOf(bert)!;
    expect(cut.before('one two three', 0, 10)).toBe(7);
    expect(cut.before('one two three', 0, 7)).toBe(7);
    expect(cut.before('one two three', 0, 6)).toBe(3);
    expect(cut.before('one two three', 3, 6)).toBe(-1);
    expect(cut.before('one中文', 0, 4)).toBe(4);
    expect(cut.before('a   b', 0, 3)).toBe(3);
    expect(cut.before('unbroken', 0, 100)).toBe(-1);
    // A vertical tab is dropped and joins what it divides.
    expect(cut.before('un\vbroken', 0, 100)).toBe(-1);
  });

  it('cuts byte-level text at the start of a run of spaces only', () => {
    expect(safeCutOf(byteLevel)!.before('a   b', 0, 3)).toBe(1);
  });

  it.each([
    ['a normalizer it does not know', { ...bert, normalizer: { type: 'Replace' } }],
    ['a pre-tokenizer it does not know', { ...bert, pre_tokenizer: { type: 'Split' } }],
    ['no pre-tokenizer', { ...bert, pre_tokenizer: null }],
    ['a token with a space in it', { ...bert, added_tokens: [{ content: 'New York' }] }],
    ['no tokenizer at all', 'text'],
  ])('has no safe place for %s', (_, json) => {
    expect(safeCutOf(json)).toBeNull();
  });

  it('looks into sequences', () => {
    const nested = {
      normalizer: { type: 'Sequence', normalizers: [{ type: 'NFC' }, { type: 'Lowercase' }] },
      pre_tokenizer: {
        type: 'Sequence',
        pretokenizers: [{ type: 'WhitespaceSplit' }, { type: 'Metaspace' }],
      },
    };
    expect(safeCutOf(nested)).not.toBeNull();
    expect(
      safeCutOf({ ...nested, normalizer: { type: 'Sequence', normalizers: [{ type: 'Prepend' }] } }),
    ).toBeNull();
  });

  it('holds for a byte-level tokenizer', () => {
    const letters = [...'abc Ġ\n\t'].map((letter, id) => [letter, id]);
    const definition = {
      ...byteLevel,
      normalizer: null,
      pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
      model: {
        type: 'BPE',
        vocab: Object.fromEntries(letters),
        merges: [],
        unk_token: 'a',
        byte_fallback: false,
      },
      decoder: { type: 'ByteLevel' },
      post_processor: null,
    };
    const tokenizer = new HubTokenizer(definition, {});
    const cut = safeCutOf(definition)!;
    for (const text of ['a  b   c', 'ab c  \n cab ', 'a\n\nb', '   a b']) {
      const whole = tokenizer.tokenize(text).join('|');
      for (let to = 1; to < text.length; to++) {
        const at = cut.before(text, 0, to);
        if (at > 0) {
          expect(`${whole}|`.startsWith(`${tokenizer.tokenize(text.slice(0, at)).join('|')}|`)).toBe(true);
        }
      }
    }
  });
});
