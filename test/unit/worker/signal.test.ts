import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Signal } from '../../../src/worker/signal.ts';

describe('Signal', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  /** Whether a wait of `limitMs` has ended after `ms`. */
  async function ended(wait: Promise<void>, ms: number): Promise<boolean> {
    let done = false;
    void wait.then(() => {
      done = true;
    });
    await vi.advanceTimersByTimeAsync(ms);
    return done;
  }

  it('ends a wait, and leaves no timer', async () => {
    const signal = new Signal();
    const wait = signal.wait(1_000);
    expect(await ended(wait, 999)).toBe(false);
    signal.give();
    expect(await ended(wait, 0)).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  it('ends it after the limit without being given', async () => {
    const signal = new Signal();
    const wait = signal.wait(1_000);
    expect(await ended(wait, 999)).toBe(false);
    expect(await ended(wait, 1)).toBe(true);
  });

  it('is kept for the next wait, once', async () => {
    const signal = new Signal();
    signal.give();
    signal.give();
    expect(await ended(signal.wait(1_000), 0)).toBe(true);
    expect(await ended(signal.wait(1_000), 500)).toBe(false);
  });
});
