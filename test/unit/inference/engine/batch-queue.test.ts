import { describe, expect, it } from 'vitest';
import type { CallOptions } from '../../../../src/inference/backend/run.ts';
import { type Batch, BatchQueue } from '../../../../src/inference/engine/batch-queue.ts';
import { MOST_IN_A_ROW } from '../../../../src/inference/wire/protocol.ts';
import type { VectorSpec } from '../../../../src/inference/wire/session-spec.ts';
import { limits } from '../../../../src/limits.ts';
import { tinySpec } from '../tiny-model.ts';

const spec: VectorSpec = tinySpec();
const ahead = { priority: 'interactive' } as const;
const behind = { priority: 'backfill' } as const;

/** A queue, and rows of one token each put into it by name: the token. */
function queueOf() {
  const queue = new BatchQueue('vector');
  const add = (tokens: number[][], options: CallOptions = {}, of = spec) =>
    queue.add(
      of,
      tokens.map((ids) => Int32Array.from(ids)),
      options,
    );
  return { queue, add };
}

const idsOf = (batch: Batch) => [...batch.request.ids];

describe('the order', () => {
  it('is that of the PRIORITIES, and in each of them that of the calls', () => {
    const { queue, add } = queueOf();
    void add([[1]], behind);
    void add([[2]]);
    void add([[3]], ahead);
    void add([[4]]);
    void add([[5]], ahead);
    expect(Array.from({ length: 5 }, () => idsOf(queue.take(1)))).toEqual([[3], [5], [2], [4], [1]]);
    expect(queue.size).toBe(0);
  });

  it('lets a call of the queue through now and then, however many interactive ones come', () => {
    const { queue, add } = queueOf();
    void add([[1]]);
    const taken: number[] = [];
    for (let token = 100; taken.at(-1) !== 1; token++) {
      void add([[token]], ahead);
      taken.push(idsOf(queue.take(1))[0]!);
      expect(taken.length).toBeLessThanOrEqual(MOST_IN_A_ROW + 1);
    }
    expect(taken).toHaveLength(MOST_IN_A_ROW + 1);
  });

  it('has calls that came back first', () => {
    const { queue, add } = queueOf();
    void add([[1]]);
    void add([[2]], ahead);
    const first = queue.take(1);
    const second = queue.take(1);
    void add([[3]]);
    void add([[4]], ahead);
    queue.putBack([...first.calls, ...second.calls]);
    expect(Array.from({ length: 4 }, () => idsOf(queue.take(1)))).toEqual([[2], [4], [1], [3]]);
  });
});

describe('a batch', () => {
  it('takes calls that came one by one, as far as its tokens go', async () => {
    const { queue, add } = queueOf();
    const calls = [add([[1]]), add([[2, 2]]), add([[3, 3, 3]]), add([[4]])];
    const batch = queue.take(6);
    // 1, 2 and 4 make 3 rows x 2 tokens; with 3 it would be 3 rows x 3 tokens.
    expect(idsOf(batch)).toEqual([1, 2, 2, 4]);
    expect([...batch.request.lengths]).toEqual([1, 2, 1]);
    expect(idsOf(queue.take(6))).toEqual([3, 3, 3]);
    queue.resolve(batch, { values: Float32Array.of(10, 11, 20, 21, 40, 41), notFinite: [] });
    expect(await calls[0]).toEqual([Float32Array.of(10, 11)]);
    expect(await calls[1]).toEqual([Float32Array.of(20, 21)]);
    expect(await calls[3]).toEqual([Float32Array.of(40, 41)]);
  });

  it('takes no call of another priority, of other scaling, or one that is to be alone', () => {
    const { queue, add } = queueOf();
    void add([[1]]);
    void add([[2]], behind);
    void add([[3]], {}, { ...spec, normalize: true });
    void add([[4]]);
    const both = queue.take(1_000);
    expect(idsOf(both)).toEqual([1, 4]);
    for (const call of both.calls) call.alone = true;
    queue.putBack(both.calls);
    expect(Array.from({ length: 4 }, () => idsOf(queue.take(1_000)))).toEqual([[1], [4], [3], [2]]);
  });

  it('keeps to the budgets that its calls were cut under', () => {
    const { queue, add } = queueOf();
    void add([[1]], { budget: 2 });
    void add([[2]], { budget: 2 });
    void add([[3]], { budget: 2 });
    void add([[4]], { budget: 1 });
    expect(Array.from({ length: 3 }, () => idsOf(queue.take(1_000)))).toEqual([[1, 2], [3], [4]]);
  });

  it('gives calls back that shared it with a row that is not finite, and the others their result', async () => {
    const { queue, add } = queueOf();
    const calls = [add([[1], [2]]), add([[3]]), add([[4]])];
    const batch = queue.take(1_000);
    const suspects = queue.resolve(batch, { values: Float32Array.of(1, 2, 3, 4), notFinite: [1, 3] });
    expect(suspects.map(({ sequences }) => [...(sequences[0] as Int32Array)])).toEqual([[1], [4]]);
    expect(await calls[1]).toEqual([Float32Array.of(3)]);
    queue.putBack(suspects.map((call) => Object.assign(call, { alone: true })));
    expect(queue.resolve(queue.take(1_000), { values: Float32Array.of(1, 2), notFinite: [1] })).toEqual([]);
    expect(await calls[0]).toMatchObject([Float32Array.of(1), { kind: 'not-finite' }]);
  });

  it('is larger than the tokens where a single call is', () => {
    const { queue, add } = queueOf();
    void add([
      [1, 1],
      [2, 2],
    ]);
    expect(idsOf(queue.take(1))).toEqual([1, 1, 2, 2]);
  });
});

it('refuses interactive callers when thousands wait, and takes them again when they were served', async () => {
  const { queue, add } = queueOf();
  const rows = Array.from({ length: limits.waitingSequences }, () => [1]);
  void add(rows, ahead);
  await expect(add([[2]], ahead)).rejects.toMatchObject({
    kind: 'busy',
    message: '16384 texts wait for the engine already',
  });
  void add(rows);
  void add(rows);
  queue.take(1);
  void add([[3]], ahead);
  expect(idsOf(queue.take(1))).toEqual([3]);
});
