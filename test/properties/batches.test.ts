import fc from 'fast-check';
import { expect, it } from 'vitest';
import { bisect } from '../../src/bisect.ts';
import { cutBatches } from '../../src/inference/batches/batcher.ts';
import { holds } from './property.ts';

it('batches hold each sequence once, within budget and number, and are never more than they need be', async () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 600 }), { maxLength: 300 });
  const budget = fc.integer({ min: 1, max: 5_000 });
  await holds([lengths, budget, fc.integer({ min: 1, max: 64 })], (given, tokenBudget, mostSequences) => {
    const batches = cutBatches([...given.keys()], (place) => given[place]!, { tokenBudget, mostSequences });
    expect(batches.flat().sort((a, b) => a - b)).toEqual([...given.keys()]);
    const longest = batches.map((batch) => Math.max(...batch.map((place) => given[place]!)));
    for (const [number, batch] of batches.entries()) {
      expect(batch.length).toBeLessThanOrEqual(mostSequences);
      if (batch.length > 1) expect(batch.length * longest[number]!).toBeLessThanOrEqual(tokenBudget);
      if (number === batches.length - 1) continue;
      // One more sequence would not have fitted, and the next batch has none that is longer.
      const oneMore = (batch.length + 1) * longest[number]!;
      expect(batch.length === mostSequences || oneMore > tokenBudget).toBe(true);
      expect(longest[number + 1]!).toBeLessThanOrEqual(Math.min(...batch.map((place) => given[place]!)));
    }
  });
});

it('halving finds just the items at fault, and does the work for the others once', async () => {
  const items = fc.array(fc.boolean(), { minLength: 1, maxLength: 80 });
  await holds([items], async (faulty) => {
    const done: number[] = [];
    const rejected: number[] = [];
    await bisect(
      [...faulty.keys()],
      async (part) => {
        if (part.some((place) => faulty[place])) throw new Error('one of these');
        done.push(...part);
      },
      () => true,
      (place) => rejected.push(place),
    );
    expect(done).toEqual([...faulty.keys()].filter((place) => !faulty[place]));
    expect(rejected).toEqual([...faulty.keys()].filter((place) => faulty[place]));
  });
});
