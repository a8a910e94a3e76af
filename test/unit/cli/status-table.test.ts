import { describe, expect, it } from 'vitest';
import { formatStatus } from '../../../src/cli/status.ts';

type Row = Parameters<typeof formatStatus>[0][number];
const row = {
  pipeline: 'articles',
  state: 'filling',
  error: `a long story ${'x'.repeat(200)}`,
  warning: null,
  source_rows: 12_345_678,
  embedded_rows: 1_234_567,
  stale_rows: 0,
  pending: 2_048,
  leased: 2_048,
  failed: 0,
  coverage: '0.1',
  oldest_due_age: '00:00:10',
  rows_per_second: '1234.5',
  time_left_estimate: '02:03:00',
  index_state: 'building: 12 %',
  next_generation: null,
} as unknown as Row;

describe('status in a narrow terminal', () => {
  it.each([72, 80, 100, 120])('of %i columns has no line that wraps', (columns) => {
    const lines = formatStatus([row], columns, columns);
    expect(Math.max(...lines.map((line) => line.length))).toBeLessThanOrEqual(columns);
    expect(lines[0]).toMatch(/pipeline +state +source rows +embedded .*pending .*failed/);
  });

  it('loses nothing where it is piped', () => {
    const lines = formatStatus([row]);
    expect(lines[0]).toContain('rows/s');
    expect(lines[1]).toContain('1,235');
    expect(lines[2]).toContain('x'.repeat(200));
  });
});
