import { describe, expect, it } from 'vitest';
import { explore, GUARDS, type Guard, type Write } from './queue-model.ts';

const ONE: Write[][] = [['update'], ['delete'], ['delete', 'insert'], ['delete and insert'], ['ask']];
const SESSIONS = ONE.flatMap((first, i) => ONE.slice(i).map((second) => [first, second]));

describe('every interleaving of two sessions and two workers, one of which may die', () => {
  it.each(
    SESSIONS.map((writes) => [writes.map((each) => each.join(', then ')).join(' | '), writes] as const),
  )('%s: nothing is lost, doubled or stale', (_, writes) => {
    const { violation, states } = explore(writes);
    expect(violation).toBeNull();
    expect(states).toBeGreaterThan(100);
  });

  it.each(Object.keys(GUARDS) as Guard[])('would go wrong without: %s', (guard) => {
    expect(SESSIONS.some((writes) => explore(writes, [guard]).violation !== null)).toBe(true);
  });
});
