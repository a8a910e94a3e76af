import { expect, it } from 'vitest';
import { soak } from '../soak/soak.ts';

it('a short run of the simulation finds nothing lost, doubled or stale', async () => {
  const lines: string[] = [];
  const report = await soak({ seed: 7, minutes: 0.25, roundSeconds: 15, say: (line) => lines.push(line) });
  expect(report.violations, lines.join('\n')).toEqual([]);
  expect(report.rounds).toBe(1);
  expect(Object.keys(report.faults).length).toBeGreaterThan(2);
}, 240_000);
