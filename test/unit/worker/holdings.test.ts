import { describe, expect, it } from 'vitest';
import type { Job } from '../../../src/queue/jobs.ts';
import { Holdings } from '../../../src/worker/holdings.ts';

const job = (pipelineId: number, rowKey: string, version = 1): Job => ({
  pipelineId,
  rowKey,
  version,
  attempts: 1,
  priority: 'normal',
});

describe('Holdings', () => {
  it('counts what is held, by pipeline', () => {
    const holdings = new Holdings();
    let freed = 0;
    holdings.on('freed', () => freed++);
    const jobs = [job(1, 'a'), job(1, 'b'), job(2, 'a')];
    holdings.add(jobs);
    expect(holdings.size).toBe(3);
    expect(holdings.byPipeline()).toEqual([[jobs[0], jobs[1]], [jobs[2]]]);
    holdings.remove([jobs[0]!, jobs[2]!]);
    expect([holdings.size, freed]).toEqual([1, 1]);
    expect(holdings.byPipeline()).toEqual([[jobs[1]]]);
    holdings.remove([jobs[0]!, job(3, 'x')]);
    expect(holdings.size).toBe(1);
  });

  it('holds a row once, by its later claim: the earlier one does not take it away', () => {
    const holdings = new Holdings();
    const [earlier, later] = [job(1, 'a'), job(1, 'a', 2)];
    holdings.add([earlier]);
    holdings.add([later]);
    expect(holdings.size).toBe(1);
    holdings.remove([earlier]);
    expect(holdings.byPipeline()).toEqual([[later]]);
    holdings.remove([later]);
    expect([holdings.size, holdings.byPipeline()]).toEqual([0, []]);
  });
});
