import { describe, expect, it } from 'vitest';
import { ClientGone, Line } from '../../../src/http/api/line.ts';

const NEVER = new AbortController().signal;
/** Lets what is resolved go on. */
const turn = () => new Promise((resolve) => setImmediate(resolve));

/** A line whose work waits until it is let go, in the order in which it began. */
function heldLine(limits = { running: 10, waiting: 40, part: 5 }) {
  const line = new Line(limits);
  const begun: { items: readonly number[]; go: () => void }[] = [];
  const ask = (items: readonly number[], { model = 'm', signal = NEVER } = {}) =>
    line.run({
      model,
      items,
      signal,
      tokensOf: (item: number) => item,
      run: (part) =>
        new Promise<number[]>((resolve) => {
          begun.push({ items: part, go: () => resolve(part.map((item) => item * 10)) });
        }),
    });
  return { line, begun, ask };
}

describe('the line', () => {
  it('gives results in the order of the items, also when they run in parts sorted by length', async () => {
    const { ask, begun } = heldLine();
    const asked = ask([1, 5, 2, 4]);
    expect(begun.map(({ items }) => items)).toEqual([[5], [4]]);
    while (begun.length > 0) {
      begun.pop()!.go();
      await turn();
    }
    expect(await asked).toEqual([10, 50, 20, 40]);
  });

  it('lets another have its turn between the parts of a large request', async () => {
    const { ask, begun } = heldLine();
    const large = ask([5, 5, 5, 5]);
    const small = ask([1]);
    expect(begun).toHaveLength(2);
    begun[0]!.go();
    await turn();
    begun[1]!.go();
    await turn();
    expect(begun.map(({ items }) => items)).toEqual([[5], [5], [5], [1]]);
    for (let i = 2; i < 5; i++) {
      begun[i]!.go();
      await turn();
    }
    expect([await large, await small]).toEqual([[50, 50, 50, 50], [10]]);
  });

  it('keeps nobody waiting for another model', () => {
    const { ask, begun } = heldLine();
    void ask([10, 10], { model: 'a' });
    void ask([1], { model: 'b' });
    expect(begun.map(({ items }) => items)).toEqual([[10], [1]]);
  });

  it('refuses what is too much, at once or altogether, and says when to come again', async () => {
    const { ask, line } = heldLine();
    await expect(ask([41])).rejects.toMatchObject({ status: 413 });
    void ask([10]);
    void ask(new Array(8).fill(5));
    expect(line.waiting).toBe(40);
    await expect(ask([1])).rejects.toMatchObject({ status: 429, details: { retryAfter: 1 } });
  });

  it('is left by a client that goes away, with all that it has not begun', async () => {
    const { ask, begun, line } = heldLine();
    const gone = new AbortController();
    const first = ask([10]);
    const leaving = ask([5, 5, 5], { signal: gone.signal });
    const last = ask([2]);
    expect(line.waiting).toBe(17);
    gone.abort();
    await expect(leaving).rejects.toBeInstanceOf(ClientGone);
    expect(line.waiting).toBe(2);
    begun[0]!.go();
    expect(await first).toEqual([100]);
    await turn();
    expect(begun.map(({ items }) => items)).toEqual([[10], [2]]);
    begun[1]!.go();
    expect(await last).toEqual([20]);
  });

  it('goes on after an error, which takes the rest of its request with it', async () => {
    const line = new Line({ running: 5, waiting: 100, part: 5 });
    let runs = 0;
    const failing = line.run({
      model: 'm',
      items: [5, 5, 5],
      signal: NEVER,
      tokensOf: (item) => item,
      run: async () => {
        runs++;
        throw new Error('no');
      },
    });
    await expect(failing).rejects.toThrow('no');
    const after = line.run({
      model: 'm',
      items: [5],
      signal: NEVER,
      tokensOf: (item) => item,
      run: async () => [1],
    });
    expect(await after).toEqual([1]);
    expect([runs, line.waiting]).toEqual([1, 0]);
  });
});
