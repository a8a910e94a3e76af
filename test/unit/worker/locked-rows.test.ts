import { expect, it } from 'vitest';
import { LockedRows } from '../../../src/worker/locked-rows.ts';

const job = (pipelineId: number, rowKey: string) => ({
  pipelineId,
  rowKey,
  version: 1,
  attempts: 1,
  priority: 'normal' as const,
});

it('a row that is locked again and again waits longer and longer, up to five minutes, until it is free', () => {
  const rows = new LockedRows();
  expect(Array.from({ length: 8 }, () => rows.delay(job(1, 'a')))).toEqual([
    5, 10, 20, 40, 80, 160, 300, 300,
  ]);
  expect([rows.delay(job(1, 'b')), rows.delay(job(2, 'a'))]).toEqual([5, 5]);
  rows.free(1, ['a']);
  expect([rows.delay(job(1, 'a')), rows.delay(job(2, 'a'))]).toEqual([5, 10]);
});
