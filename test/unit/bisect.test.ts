import { describe, expect, it } from 'vitest';
import { bisect } from '../../src/bisect.ts';

const items = Array.from({ length: 100 }, (_, i) => i);

/** Runs bisect with work that fails on these items. */
async function run(bad: number[], blames = true) {
  const done: number[] = [];
  const rejected: [number, string][] = [];
  let calls = 0;
  const work = async (part: readonly number[]) => {
    calls++;
    const culprit = part.find((item) => bad.includes(item));
    if (culprit !== undefined) throw new Error(`because of ${culprit}`);
    done.push(...part);
  };
  await bisect(
    items,
    work,
    () => blames,
    (item, error) => rejected.push([item, (error as Error).message]),
  );
  return { done, rejected, calls };
}

describe('bisect', () => {
  it('does all at once when nothing fails', async () => {
    expect(await run([])).toEqual({ done: items, rejected: [], calls: 1 });
  });

  it('finds the culprits and does the rest, each once, in few calls', async () => {
    const { done, rejected, calls } = await run([0, 42, 99]);
    expect(rejected).toEqual([0, 42, 99].map((item) => [item, `because of ${item}`]));
    expect(done).toEqual(items.filter((item) => ![0, 42, 99].includes(item)));
    expect(calls).toBeLessThan(3 * 2 * 7 + 1);
  });

  it('throws what no item is to blame for', async () => {
    await expect(run([42], false)).rejects.toThrow('because of 42');
  });
});
