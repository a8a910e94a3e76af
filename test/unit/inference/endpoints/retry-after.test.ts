import { expect, it } from 'vitest';
import { readRetryAfter } from '../../../../src/inference/endpoints/retry-after.ts';

const now = Date.parse('2026-03-01T12:00:00Z');

it.each([
  ['7', 7_000],
  ['0.5', 500],
  ['Sun, 01 Mar 2026 12:00:30 GMT', 30_000],
  ['Sun, 01 Mar 2026 11:00:00 GMT', 0],
  ['86400', 600_000],
  ['soon', null],
  ['-3', 0],
  [undefined, null],
])('Retry-After: %s is %s ms', (header, ms) => {
  expect(readRetryAfter(header, now)).toBe(ms);
});
