import { describe, expect, it } from 'vitest';
import { parseChunking } from '../../../src/chunking/parse-chunking.ts';
import { UserError } from '../../../src/errors.ts';

describe('a chunking', () => {
  it.each([
    [{ strategy: 'tokens' }, { strategy: 'tokens', size: 256, overlap: 32 }],
    [
      { strategy: 'markdown', size: 8 },
      { strategy: 'markdown', size: 8, overlap: 1 },
    ],
    [
      { strategy: 'recursive', size: 512 },
      { strategy: 'recursive', size: 512, overlap: 32 },
    ],
    [
      { strategy: 'tokens', size: 8192, overlap: 4095 },
      { strategy: 'tokens', size: 8192, overlap: 4095 },
    ],
    [
      { strategy: 'recursive', overlap: 0, separators: ['\n', '。'] },
      { strategy: 'recursive', size: 256, overlap: 0, separators: ['\n', '。'] },
    ],
  ])('gets its defaults: %j', (given, parsed) => {
    expect(parseChunking(given)).toEqual(parsed);
  });

  it.each([
    [null, /expected object/],
    ['recursive', /expected object/],
    [{}, /strategy: .*"tokens"\|"recursive"\|"markdown"/],
    [{ strategy: 'words' }, /strategy: /],
    [{ strategy: 'tokens', size: 7 }, /size: .*8/],
    [{ strategy: 'tokens', size: 8193 }, /size: .*8192/],
    [{ strategy: 'tokens', size: 9.5 }, /size: /],
    [{ strategy: 'tokens', size: '256' }, /size: /],
    [{ strategy: 'tokens', size: null }, /size: /],
    [{ strategy: 'tokens', overlap: -1 }, /overlap: /],
    [{ strategy: 'tokens', overlap: 128 }, /overlap: must be less than half of size/],
    [{ strategy: 'tokens', seperators: ['a'] }, /"seperators"/],
    [{ strategy: 'tokens', separators: ['a'] }, /separators: go with/],
    [{ strategy: 'recursive', separators: [] }, /separators: /],
    [{ strategy: 'recursive', separators: [''] }, /separators: 0: /],
    [{ strategy: 'recursive', separators: ['\udc00'] }, /separators: 0: must be well-formed text/],
  ])('is refused in one line: %j', (given, message) => {
    const error = (() => {
      try {
        return parseChunking(given);
      } catch (caught) {
        return caught;
      }
    })();
    expect(error).toBeInstanceOf(UserError);
    expect((error as UserError).message).toMatch(message);
    expect((error as UserError).line).not.toContain('\n');
  });
});
