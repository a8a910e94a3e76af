import { once } from 'node:events';
import { describe, expect, it } from 'vitest';
import type { BatchReport } from '../../../src/inference/backend/events.ts';
import { sessionSpec } from '../../../src/inference/engine/session-spec.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { tinySpec } from '../../unit/inference/tiny-model.ts';
import { exits, faultyEntry, hangs, next, refuses, row, startEngine } from './support.ts';

const bundled = sessionSpec(
  createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction'),
);
const wide = () => tinySpec({ table: Array.from({ length: 2100 }, (_, id) => [id, 1, 0]) });
const isThere = (pid: number) => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

describe('sessions', () => {
  it('have processes of their own: one that hangs keeps no other waiting', async () => {
    const { engine } = startEngine({ entry: faultyEntry('faulty') });
    const stuck = engine.run(wide(), [Int32Array.of(hangs)]).catch((error: unknown) => error);
    await next(engine, 'running');
    expect(await engine.run(wide(), [Int32Array.of(7)])).toEqual([Float32Array.of(7, 1, 0)]);
    expect(engine.sessions.map(({ state, pending }) => [state, pending])).toEqual([
      ['loaded', 1],
      ['loaded', 0],
    ]);
    await engine.stop(0);
    expect(await stuck).toMatchObject({ kind: 'stopped' });
  });

  it('that cannot be loaded cost no other, and are tried again with the next batch', async () => {
    const { engine } = startEngine();
    const missing = { ...wide(), onnxPath: '/nowhere/model.onnx' };
    const results = await Promise.allSettled([
      engine.run(missing, [row(1)]),
      engine.run(missing, [row(2)]),
      engine.run(wide(), [Int32Array.of(5)]),
    ]);
    expect(results.map(({ status }) => status)).toEqual(['rejected', 'rejected', 'fulfilled']);
    expect(results[1]).toMatchObject({ reason: { kind: 'load' } });
    await expect(engine.run(missing, [row(1)])).rejects.toMatchObject({ kind: 'load' });
    expect(engine.sessions[0]).toMatchObject({ state: 'unloaded', pids: [], residentBytes: 0 });
  });

  it('have more processes when batches pile up, and batches are all done once', async () => {
    const { engine } = startEngine({ engines: 2, threads: 1 });
    const pids = new Set<number | undefined>();
    engine.on('running', ({ pid }) => pids.add(pid));
    const spec = wide();
    // 512 rows of 2 tokens: nothing else goes into the batch.
    const batches = Array.from({ length: 60 }, (_, batch) =>
      Array.from({ length: 512 }, (_, i) => Int32Array.of(batch, i)),
    );
    // Until the second one is up and has had a batch.
    while (pids.size < 2) {
      const results = await Promise.all(batches.map((rows) => engine.run(spec, rows)));
      expect(results).toEqual(
        batches.map((rows) => rows.map(([a, b]) => Float32Array.of((a! + b!) / 2, 1, 0))),
      );
    }
    expect(engine.pids).toHaveLength(2);
  });

  it('are loaded by one process only while there is little to do', async () => {
    const { engine } = startEngine({ engines: 2, threads: 1 });
    const spec = wide();
    for (let id = 0; id < 20; id++) await engine.run(spec, [Int32Array.of(id)]);
    expect(engine.pids).toHaveLength(1);
  });
});

describe('memory', () => {
  it('goes back when a session had nothing to do for a while', async () => {
    const { engine } = startEngine({ idleMs: 1 });
    await engine.run(wide(), [Int32Array.of(1)]);
    const [pid] = engine.pids;
    await once(engine, 'unloaded');
    expect(engine.pids).toEqual([]);
    expect(isThere(pid!)).toBe(false);
    expect(engine.sessions).toMatchObject([{ state: 'unloaded', residentBytes: 0 }]);
  });

  it('above the limit is taken from the session that was not used for longest', async () => {
    const { engine } = startEngine({ memoryLimitBytes: 1 });
    const [first, second] = [wide(), wide()];
    await engine.run(first, [Int32Array.of(1)]);
    const unloaded = once(engine, 'unloaded');
    await engine.run(second, [Int32Array.of(2)]);
    await unloaded;
    expect(engine.sessions.map(({ key }) => key)).toEqual([first.key, second.key]);
    expect(engine.sessions[0]).toMatchObject({ state: 'unloaded' });
    // Comes back when it is wanted.
    expect(await engine.run(first, [Int32Array.of(3)])).toEqual([Float32Array.of(3, 1, 0)]);
  });

  it('that the session in use needs is given, with one warning', async () => {
    const { engine, log } = startEngine({ memoryLimitBytes: 1 });
    const spec = wide();
    let starts = 0;
    engine.on('started', () => starts++);
    for (const id of [1, 2, 3]) await engine.run(spec, [Int32Array.of(id)]);
    expect(starts).toBe(1);
    expect(log.filter((line) => line.includes('more memory than its limit')).length).toBe(1);
  });
});

describe('calls that come one by one', () => {
  it('share a run, each with its own result', async () => {
    const { engine } = startEngine({ engines: 1 });
    const reports: BatchReport[] = [];
    engine.on('batch', (report) => reports.push(report));
    const spec = wide();
    const results = await Promise.all(
      Array.from({ length: 30 }, (_, id) =>
        engine.run(spec, [Int32Array.of(id, id)], { priority: 'interactive' }),
      ),
    );
    expect(results).toEqual(Array.from({ length: 30 }, (_, id) => [Float32Array.of(id, 1, 0)]));
    // They all wait for the process to start.
    expect(reports).toMatchObject([{ rows: 30, tokens: 60, paddedTokens: 60, priority: 'interactive' }]);
  });

  it.each([
    ['ends the process', exits, 'died'],
    ['is refused', refuses, 'run'],
  ])('share no blame: the one that %s is the only one without a result', async (_, bad, kind) => {
    const { engine } = startEngine({ engines: 1, entry: faultyEntry('faulty') });
    const spec = wide();
    const results = await Promise.allSettled(
      [1, 2, bad, 4].map((id) => engine.run(spec, [Int32Array.of(id)])),
    );
    expect(results.map((result) => result.status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'fulfilled',
    ]);
    expect(results[2]).toMatchObject({ reason: { kind } });
  });
});

it('an interactive batch runs before those that are with the process already', async () => {
  const { engine } = startEngine({ engines: 1 });
  const order: string[] = [];
  const large = Array.from({ length: 200 }, () => row(1, 2, 3));
  const run = async (name: string, rows: Int32Array[], interactive: boolean) => {
    await engine.run(bundled, rows, { priority: interactive ? 'interactive' : 'normal' });
    order.push(name);
  };
  await run('warm', [row(1)], false);
  const running = next(engine, 'running');
  const queued = [run('a', large, false), run('b', large, false), run('c', large, false)];
  await running;
  await run('now', [row(5)], true);
  await Promise.all(queued);
  expect(order).toEqual(['warm', 'a', 'now', 'b', 'c']);
});
