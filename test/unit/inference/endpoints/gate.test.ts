import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { EngineError } from '../../../../src/inference/backend/engine-error.ts';
import type { Priority } from '../../../../src/inference/backend/priority.ts';
import { Gate } from '../../../../src/inference/endpoints/gate.ts';

const limits = { inputs_per_request: 32, concurrent_requests: 2, timeout_seconds: 60 };
const waits: [string, number][] = [];
const open = (own: object = {}) =>
  new Gate('cloud', { ...limits, ...own }, (reason, ms) => waits.push([reason, ms]));
const pass = (gate: Gate, priority: Priority = 'normal', tokens = 1) =>
  gate.pass({ priority, tokens }, async () => 'passed').catch((error: EngineError) => error);

beforeEach(() => {
  vi.useFakeTimers();
  waits.length = 0;
});
afterEach(() => vi.useRealTimers());

it('without limits all pass, so many at a time and those first for which somebody waits', async () => {
  const gate = open();
  const order: string[] = [];
  const ends: (() => void)[] = [];
  const enter = (name: string, priority: Priority) =>
    gate.pass({ priority, tokens: 1 }, () => {
      order.push(name);
      return new Promise<void>((resolve) => ends.push(resolve));
    });
  const all = [
    enter('backfill 1', 'backfill'),
    enter('backfill 2', 'backfill'),
    enter('backfill 3', 'backfill'),
    enter('job', 'normal'),
    enter('query', 'interactive'),
  ];
  await vi.advanceTimersByTimeAsync(0);
  expect(order).toEqual(['backfill 1', 'backfill 2']);
  for (let ended = 0; ended < 5; ended++) {
    ends[ended]!();
    await vi.advanceTimersByTimeAsync(0);
  }
  await Promise.all(all);
  expect(order.slice(2)).toEqual(['query', 'job', 'backfill 3']);
});

it('the queue is told when to come again, and it is a good while', async () => {
  const gate = open({ requests_per_minute: 20 });
  // A tenth is kept for callers who wait.
  for (let i = 0; i < 18; i++) expect(await pass(gate)).toBe('passed');
  const refused = await pass(gate);
  expect(refused).toMatchObject({ kind: 'later', until: Date.now() + 24_000 });
  expect(waits).toEqual([['limit', 24_000]]);
  expect(await pass(gate, 'interactive')).toBe('passed');
  await vi.advanceTimersByTimeAsync(10_000);
  // Half of the limit is to be free again before the queue goes on.
  expect(await pass(gate, 'backfill')).toMatchObject({ kind: 'later' });
  await vi.advanceTimersByTimeAsync(14_000);
  expect(await pass(gate)).toBe('passed');
});

it('a caller who waits is let wait for a moment, and then refused', async () => {
  const gate = open({ requests_per_minute: 30 });
  for (let i = 0; i < 30; i++) await pass(gate, 'interactive');
  const waiting = pass(gate, 'interactive');
  await vi.advanceTimersByTimeAsync(2_000);
  expect(await waiting).toBe('passed');
  const slow = open({ requests_per_minute: 3 });
  for (let i = 0; i < 3; i++) await pass(slow, 'interactive');
  expect(await pass(slow, 'interactive')).toMatchObject({ kind: 'later', until: Date.now() + 20_000 });
});

it('tokens count as the server has counted them; more than the limit pass when all of it is free', async () => {
  const gate = open({ tokens_per_minute: 1_000 });
  expect(await pass(gate, 'normal', 500)).toBe('passed');
  gate.correct(500, 100);
  expect(await pass(gate, 'normal', 800)).toBe('passed');
  expect(await pass(gate, 'normal', 10)).toMatchObject({ kind: 'later' });
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await pass(gate, 'normal', 2_000)).toBe('passed');
  await vi.advanceTimersByTimeAsync(60_000);
  expect(await pass(gate, 'normal', 10)).toMatchObject({ kind: 'later' });
});

it('while the server wants nothing none passes, and a caller waits if it is short', async () => {
  const gate = open();
  gate.close(429, 30_000);
  expect(await pass(gate)).toMatchObject({ kind: 'later', until: Date.now() + 30_000 });
  expect(await pass(gate, 'interactive')).toMatchObject({ kind: 'later' });
  await vi.advanceTimersByTimeAsync(28_000);
  const waiting = pass(gate, 'interactive');
  await vi.advanceTimersByTimeAsync(2_000);
  expect(await waiting).toBe('passed');
  expect(waits).toEqual([['429', 30_000]]);
});

it('what waits when it is stopped is refused', async () => {
  const gate = open({ concurrent_requests: 1 });
  let end = () => {};
  const held = () =>
    new Promise<void>((resolve) => {
      end = resolve;
    });
  const first = gate.pass({ priority: 'normal', tokens: 1 }, held);
  const second = pass(gate);
  gate.stop();
  expect(await second).toMatchObject({ kind: 'stopped' });
  end();
  await first;
  expect(await pass(gate)).toBeInstanceOf(EngineError);
});
