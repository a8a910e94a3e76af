import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { EngineExit } from '../../../src/inference/engine/engine-child.ts';
import { sessionSpec } from '../../../src/inference/engine/session-spec.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { tinySpec } from '../../unit/inference/tiny-model.ts';
import {
  copyOfBundledModel,
  exits,
  faultyEntry,
  hangs,
  naps,
  next,
  refuses,
  row,
  startEngine,
} from './support.ts';

const bundled = sessionSpec(
  createModelStore({ directories: [] }).find('all-MiniLM-L6-v2', 'feature-extraction'),
);
const wide = () => tinySpec({ table: Array.from({ length: 2100 }, (_, id) => [id, 1, 0]) });

describe('a batch', () => {
  it('gives a vector a row, of the dimensions of the model', async () => {
    const { engine } = startEngine();
    const results = await engine.run(bundled, [row(2023), row(2023, 2003, 1037), row()]);
    expect(results.map((result) => (result instanceof Float32Array ? result.length : result))).toEqual([
      384, 384, 384,
    ]);
  });

  it('in int8 runs on the CPU where auto has chosen a GPU, even one that is gone', async () => {
    // No macOS and Windows at once: one of the two is not there.
    const kind = process.platform === 'win32' ? 'coreml' : 'dml';
    const device = { kind, index: 0, half: true, named: false } as const;
    const [result] = await startEngine({ device }).engine.run(bundled, [row(2023)]);
    expect(result).toHaveLength(384);
    const named = startEngine({ device: { ...device, named: true } }).engine.run(bundled, [row(2023)]);
    await expect(named).rejects.toMatchObject({ kind: 'load', message: expect.stringContaining(kind) });
  });

  it('without rows starts nothing', async () => {
    const { engine } = startEngine();
    expect(await engine.run(bundled, [])).toEqual([]);
    expect(engine.pids[0]).toBeUndefined();
  });

  it('comes back in the order in which batches were given', async () => {
    const { engine } = startEngine();
    const order: number[] = [];
    const spec = wide();
    await Promise.all(
      Array.from({ length: 20 }, async (_, id) => {
        const [vector] = await engine.run(spec, [Int32Array.of(id)]);
        expect(vector).toEqual(Float32Array.of(id, 1, 0));
        order.push(id);
      }),
    );
    expect(order).toEqual(Array.from({ length: 20 }, (_, id) => id));
    expect(engine.pending).toBe(0);
  });

  it('is ahead of those that wait, when asked to be', async () => {
    const { engine } = startEngine();
    const order: string[] = [];
    const spec = wide();
    const run = async (name: string, interactive: boolean) => {
      await engine.run(spec, [Int32Array.of(1)], { priority: interactive ? 'interactive' : 'normal' });
      order.push(name);
    };
    // No process is there yet, so all of them wait.
    await Promise.all([run('a', false), run('b', false), run('c', true), run('d', true)]);
    expect(order).toEqual(['c', 'd', 'a', 'b']);
  });

  it('names the row whose vector is not finite, and gives the others theirs', async () => {
    const { engine } = startEngine();
    const spec = tinySpec({
      table: [
        [1, 2, 3],
        [Number.NaN, 0, 0],
      ],
    });
    const [good, bad] = await engine.run(spec, [Int32Array.of(0), Int32Array.of(1)]);
    expect(good).toEqual(Float32Array.of(1, 2, 3));
    expect(bad).toMatchObject({ name: 'EngineError', kind: 'not-finite' });
  });

  it('that ONNX Runtime refuses is an error of kind run, and the process lives on', async () => {
    const { engine } = startEngine();
    const spec = wide();
    await engine.run(spec, [Int32Array.of(1)]);
    const [pid] = engine.pids;
    await expect(engine.run(spec, [Int32Array.of(999_999)])).rejects.toMatchObject({
      kind: 'run',
      message: expect.stringMatching(/999999/),
    });
    expect(await engine.run(spec, [Int32Array.of(5)])).toEqual([Float32Array.of(5, 1, 0)]);
    expect(engine.pids[0]).toBe(pid);
  });
});

describe('a model', () => {
  it.each<[string, (path: string) => void]>([
    ['cut short', (path) => truncateSync(path, 1_000_000)],
    ['changed', (path) => writeFileSync(path, 'x', { flag: 'a' })],
  ])('that was %s is an error of kind load', async (_, damage) => {
    const { engine } = startEngine();
    const { folder, directory } = copyOfBundledModel();
    damage(join(directory, 'onnx', 'model_quantized.onnx'));
    const model = createModelStore({ directories: [folder] }).find('all-MiniLM-L6-v2', 'feature-extraction');
    await expect(engine.run(sessionSpec(model), [row(2023)])).rejects.toMatchObject({
      kind: 'load',
      message: expect.stringMatching(/model_quantized\.onnx is damaged: its SHA-256 is/),
      hint: expect.stringMatching(/Fetch the model again/),
    });
  });

  it('that is cut short and has no checksum is an error of kind load too', async () => {
    const { engine } = startEngine();
    const spec = tinySpec();
    truncateSync(spec.onnxPath, 60);
    await expect(engine.run(spec, [Int32Array.of(1)])).rejects.toMatchObject({
      kind: 'load',
      message: expect.stringMatching(/cannot be loaded: the file ends within a field/),
    });
  });

  it('of other dimensions is an error of kind load that says both', async () => {
    const { engine } = startEngine();
    await expect(engine.run({ ...bundled, dimensions: 768 }, [row(2023)])).rejects.toMatchObject({
      kind: 'load',
      message: expect.stringMatching(/gives 384 dimensions where 768 are expected/),
    });
  });
});

describe('a process that ends', () => {
  it('costs the batch that ran, and no other', async () => {
    const { engine } = startEngine({ entry: faultyEntry('faulty') });
    const spec = wide();
    const running = next(engine, 'running');
    const killed = engine.run(spec, [Int32Array.of(hangs)]);
    const { pid } = await running;
    const waiting = [3, 4, 5].map((id) => engine.run(spec, [Int32Array.of(id)]));
    const death = next(engine, 'died');
    process.kill(pid!, 'SIGKILL');
    await expect(killed).rejects.toMatchObject({
      kind: 'died',
      message: 'The engine process was ended by SIGKILL during a batch of 1 rows',
    });
    expect(await death).toMatchObject({ pid, signal: 'SIGKILL' } satisfies Partial<EngineExit>);
    expect(await Promise.all(waiting)).toEqual([3, 4, 5].map((id) => [Float32Array.of(id, 1, 0)]));
    expect(engine.pids[0]).not.toBe(pid);
  });

  it('tells its exit code', async () => {
    const { engine } = startEngine({ entry: faultyEntry('faulty') });
    const spec = wide();
    await expect(engine.run(spec, [Int32Array.of(1), Int32Array.of(exits)])).rejects.toMatchObject({
      kind: 'died',
      message: 'The engine process ended with exit code 7 during a batch of 2 rows',
    });
    expect(await engine.run(spec, [Int32Array.of(1)])).toHaveLength(1);
  });

  it('while the real model runs, costs that batch only', async () => {
    const { engine } = startEngine();
    // Long enough (64 rows of 256 tokens) to be running still when the signal comes.
    const long = Array.from({ length: 64 }, () => row(...Array.from({ length: 254 }, () => 2023)));
    const running = next(engine, 'running');
    const killed = engine.run(bundled, long);
    process.kill((await running).pid!, 'SIGKILL');
    await expect(killed).rejects.toMatchObject({ kind: 'died' });
    expect(await engine.run(bundled, [row(2023)])).toHaveLength(1);
  });

  it('before a batch has started is not noticed', async () => {
    const { engine } = startEngine();
    const result = engine.run(bundled, [row(2023)]);
    process.kill(engine.pids[0]!, 'SIGKILL');
    expect(await result).toHaveLength(1);
  });

  it('while it has nothing to do is not noticed', async () => {
    const { engine } = startEngine();
    const spec = wide();
    await engine.run(spec, [Int32Array.of(1)]);
    const death = next(engine, 'died');
    process.kill(engine.pids[0]!, 'SIGKILL');
    await death;
    expect(engine.pids).toEqual([]);
    expect(await engine.run(spec, [Int32Array.of(1)])).toHaveLength(1);
  });

  it('again and again is started again, with pauses', async () => {
    const { engine } = startEngine({ entry: faultyEntry('faulty') });
    const starts: number[] = [];
    engine.on('started', () => starts.push(performance.now()));
    const spec = wide();
    for (let time = 0; time < 4; time++) {
      await expect(engine.run(spec, [Int32Array.of(exits)])).rejects.toMatchObject({ kind: 'died' });
    }
    expect(starts[3]! - starts[2]!).toBeGreaterThan(240);
    expect(await engine.run(spec, [Int32Array.of(1)])).toHaveLength(1);
  });

  it('at its start, three times, is an error of kind start for all that wait', async () => {
    const { engine, log } = startEngine({ entry: faultyEntry('unable') });
    const spec = wide();
    const results = await Promise.allSettled([1, 2].map((id) => engine.run(spec, [Int32Array.of(id)])));
    for (const result of results) {
      expect(result).toMatchObject({
        status: 'rejected',
        reason: {
          kind: 'start',
          message:
            'The engine process ended with exit code 3 (unable: no such library) before it could run, 3 times',
        },
      });
    }
    expect(log.some((line) => line.includes('unable: no such library'))).toBe(true);
  });

  it('that the system does not start is an error of kind start', async () => {
    // Refused by Node itself before there is a process, as it is where the system has no room for another.
    const { engine } = startEngine({ entry: 'no\0file' });
    await expect(engine.run(wide(), [row()])).rejects.toMatchObject({
      kind: 'start',
      message: expect.stringMatching(/^The engine process could not be started \(.*null bytes/),
    });
  });

  it('since its module is missing is an error of kind start', async () => {
    const { engine } = startEngine({ entry: '/nowhere/engine.js' });
    await expect(engine.run(wide(), [row()])).rejects.toMatchObject({ kind: 'start' });
  });
});

describe('a batch that takes too long', () => {
  it('is given up, its process killed, and the others run', async () => {
    const { engine } = startEngine({ entry: faultyEntry('faulty'), runTimeoutMs: 1_000 });
    const spec = wide();
    const slow = engine.run(spec, [Int32Array.of(hangs)]);
    const other = engine.run(spec, [Int32Array.of(6)]);
    await expect(slow).rejects.toMatchObject({
      kind: 'timeout',
      message: 'The engine did not finish a batch within 1000 ms',
    });
    expect(await other).toEqual([Float32Array.of(6, 1, 0)]);
  });

  it('has the time for itself: waiting does not count', async () => {
    const { engine } = startEngine({ engines: 1, entry: faultyEntry('faulty'), runTimeoutMs: 5_000 });
    const spec = wide();
    // Half a second each, and too large to share a run.
    const rows = [Int32Array.of(naps), ...Array.from({ length: 1024 }, () => Int32Array.of(1))];
    const batches = Array.from({ length: 12 }, () => engine.run(spec, rows));
    expect(await Promise.all(batches)).toHaveLength(12);
  });
});

describe('stop', () => {
  it('lets the batch that runs end, rejects the others, and leaves no process', async () => {
    const { engine } = startEngine({ engines: 1 });
    const running = next(engine, 'running');
    // Too large to share a run.
    const rows = Array.from({ length: 400 }, () => row(2023));
    const settled = Promise.allSettled(Array.from({ length: 5 }, () => engine.run(bundled, rows)));
    const { pid } = await running;
    await engine.stop();
    const results = await settled;
    expect(results[0]).toMatchObject({ status: 'fulfilled' });
    expect(results[4]).toMatchObject({ status: 'rejected', reason: { kind: 'stopped' } });
    expect(() => process.kill(pid!, 0)).toThrow(/ESRCH/);
    await expect(engine.run(bundled, [row()])).rejects.toMatchObject({ kind: 'stopped' });
  });

  it('kills what does not end in time', async () => {
    const { engine } = startEngine({ entry: faultyEntry('faulty') });
    const running = next(engine, 'running');
    const hanging = expect(engine.run(wide(), [Int32Array.of(hangs)])).rejects.toMatchObject({
      kind: 'stopped',
    });
    const { pid } = await running;
    await engine.stop(50);
    await hanging;
    expect(() => process.kill(pid!, 0)).toThrow(/ESRCH/);
  });

  it('rejects also what comes back from a process that dies meanwhile', async () => {
    const { engine } = startEngine({ engines: 1, entry: faultyEntry('faulty') });
    const spec = wide();
    const running = next(engine, 'running');
    const first = engine.run(spec, [Int32Array.of(hangs)]);
    const { pid } = await running;
    // With the process, behind the first.
    const second = engine.run(spec, [Int32Array.of(1)]);
    const settled = Promise.allSettled([first, second]);
    const stopping = engine.stop(60_000);
    process.kill(pid!, 'SIGKILL');
    await stopping;
    expect(await settled).toMatchObject([{ reason: { kind: 'died' } }, { reason: { kind: 'stopped' } }]);
    expect(engine.pending).toBe(0);
  });

  it('is done at once where nothing was started, and twice', async () => {
    const { engine } = startEngine();
    await Promise.all([engine.stop(), engine.stop()]);
  });

  it('does not report a death', async () => {
    const { engine } = startEngine();
    const deaths: EngineExit[] = [];
    engine.on('died', (exit) => deaths.push(exit));
    await engine.run(wide(), [Int32Array.of(1)]);
    await engine.stop();
    expect(deaths).toEqual([]);
  });
});

describe('the process', () => {
  it('leaves Ctrl-C and SIGTERM to its client', async () => {
    const { engine } = startEngine();
    const spec = wide();
    await engine.run(spec, [Int32Array.of(1)]);
    const [pid] = engine.pids;
    process.kill(pid!, 'SIGINT');
    process.kill(pid!, 'SIGTERM');
    expect(await engine.run(spec, [Int32Array.of(1)])).toHaveLength(1);
    expect(engine.pids).toEqual([pid]);
  });

  it('is ended by unload when it has nothing to do, and started again', async () => {
    const { engine } = startEngine();
    expect(await engine.unload()).toBe(false);
    const spec = wide();
    await engine.run(spec, [Int32Array.of(1)]);
    const [pid] = engine.pids;
    const busy = engine.run(spec, [Int32Array.of(1)]);
    expect(await engine.unload()).toBe(false);
    await busy;
    expect(await engine.unload()).toBe(true);
    expect(() => process.kill(pid!, 0)).toThrow(/ESRCH/);
    expect(await engine.run(spec, [Int32Array.of(1)])).toHaveLength(1);
  });

  it('puts what ONNX Runtime has to say into the log', async () => {
    const { engine, log } = startEngine({ entry: faultyEntry('faulty') });
    const spec = wide();
    await expect(engine.run(spec, [Int32Array.of(refuses)])).rejects.toMatchObject({
      kind: 'run',
      message: 'refused by the test',
    });
    await expect(engine.run(spec, [Int32Array.of(-999_999)])).rejects.toMatchObject({ kind: 'run' });
    await engine.stop();
    expect(log.some((line) => line.includes('onnxruntime'))).toBe(true);
  });
});
