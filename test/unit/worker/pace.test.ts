import { expect, it } from 'vitest';
import { Pace } from '../../../src/worker/pace.ts';

it('statements that take long become smaller, and larger again when they do not', () => {
  const pace = new Pace();
  expect(pace.most(1)).toBe(512);
  pace.note(1, 512, 1_024);
  expect(pace.most(1)).toBe(100);
  expect(pace.most(2)).toBe(512);
  pace.note(1, 100, 150);
  expect(pace.most(1)).toBe(200);
  // A small one says nothing of large ones.
  pace.note(1, 3, 1);
  expect(pace.most(1)).toBe(200);
  pace.note(1, 200, 60_000);
  expect(pace.most(1)).toBe(16);
  for (let i = 0; i < 10; i++) pace.note(1, pace.most(1), 1);
  expect(pace.most(1)).toBe(512);
});
