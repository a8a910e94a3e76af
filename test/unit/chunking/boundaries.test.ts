import { describe, expect, it } from 'vitest';
import { characters, codePoints } from '../../../src/chunking/boundaries.ts';

describe('characters', () => {
  it('are whole, also where one is longer than a block', () => {
    const family = '👩‍👩‍👧‍👦';
    expect([...characters(4)(family.repeat(3))]).toEqual([family.length, 2 * family.length]);
    expect([...characters(1)('😀e\u0301a')]).toEqual([2, 4]);
    expect([...characters(4)('abcdefghij')]).toEqual([4, 8]);
  });

  it('with hundreds of marks are cut, but no surrogate pair is', () => {
    const cuts = [...characters(64)(`e${'\u{1d165}'.repeat(200)}`)];
    expect(cuts.slice(0, 2)).toEqual([65, 129]);
  });
});

it('code points are no halves of surrogate pairs', () => {
  expect([...codePoints('a😀b\ud83d')]).toEqual([1, 3, 4]);
});
