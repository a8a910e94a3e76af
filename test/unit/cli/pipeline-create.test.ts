import { describe, expect, it } from 'vitest';
import { formatWork } from '../../../src/cli/pipeline-create.ts';

describe('how much a new pipeline has to do', () => {
  it('is its rows', () => {
    expect(formatWork(1)).toBe('1 row to work on');
    expect(formatWork(12_345)).toBe('12,345 rows to work on');
  });

  it('is not said to be nothing where nobody has counted', () => {
    expect(formatWork(null)).toBe('a worker counts its rows');
  });
});
