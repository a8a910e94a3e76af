import { describe, expect, it } from 'vitest';
import {
  formatCount,
  formatMilliseconds,
  formatSeconds,
  formatShare,
  oneLine,
  plural,
  shortFloat,
} from '../../../src/cli/format.ts';

describe('numbers', () => {
  it.each([
    [0, '0 rows'],
    [1, '1 row'],
    [1_234_567, '1,234,567 rows'],
  ])('%d rows', (count, text) => expect(plural(count, 'row')).toBe(text));

  it('are rounded', () => expect(formatCount(999.6)).toBe('1,000'));

  it.each([
    [0, '0.0 s'],
    [9.94, '9.9 s'],
    [9.96, '10 s'],
    [59.4, '59 s'],
    [59.6, '1 min'],
    [185, '3 min 5 s'],
    [7_380, '2 h 3 min'],
    [3_599.7, '1 h'],
    [90_000, '1 d 1 h'],
  ])('%d seconds', (seconds, text) => expect(formatSeconds(seconds)).toBe(text));

  it.each([
    [0.42, '0.42 ms'],
    [4.2, '4.2 ms'],
    [42.4, '42 ms'],
  ])('%d milliseconds', (milliseconds, text) => expect(formatMilliseconds(milliseconds)).toBe(text));

  it.each([
    [0, '0.0 %'],
    [0.000_01, '0.1 %'],
    [0.5, '50.0 %'],
    [0.999_99, '99.9 %'],
    [1, '100.0 %'],
  ])('a share of %d', (share, text) => expect(formatShare(share)).toBe(text));
});

describe('oneLine', () => {
  it('makes a line of several', () => expect(oneLine(' a\n\tb  c ', 20)).toBe('a b c'));
  it('cuts, and says so', () => expect(oneLine('abcdef', 4)).toBe('abc…'));
  it('keeps what just fits', () => expect(oneLine('abcd', 4)).toBe('abcd'));
  it('does not cut through a character', () => expect(oneLine('😀😀😀', 2)).toBe('😀…'));
  it('takes a terminal no commands', () => expect(oneLine('a\u001b[31mb\u0007\u202e', 20)).toBe('a [31mb'));
  it('says that a long run of blanks was cut', () =>
    expect(oneLine(`a${' '.repeat(1_000)}b`, 10)).toBe('a…'));
});

describe('shortFloat', () => {
  it.each([0.1, -0.123_456_79, 1e-20, 0, 3.402_823_4e38])('%d is the same float4', (value) => {
    const float = Math.fround(value);
    expect(Math.fround(shortFloat(float))).toBe(float);
    expect(String(shortFloat(float)).length).toBeLessThanOrEqual(16);
  });
});
