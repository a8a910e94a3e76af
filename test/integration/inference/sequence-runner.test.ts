import { describe, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import type { BatchReport } from '../../../src/inference/backend/events.ts';
import type { RunOptions, SequenceResult } from '../../../src/inference/backend/run.ts';
import { SequenceRunner } from '../../../src/inference/batches/sequence-runner.ts';
import type { TokenSequence } from '../../../src/inference/tokenizer/token-sequence.ts';
import type { VectorSpec } from '../../../src/inference/wire/session-spec.ts';
import { tinySpec } from '../../unit/inference/tiny-model.ts';
import { faultyEntry, fills, refuses, startEngine } from './support.ts';

const wide = () => tinySpec({ table: Array.from({ length: 2100 }, (_, id) => [id, 1, 0]) });

function start(tokenBudget?: number, entry?: string) {
  const { engine } = startEngine({ engines: 1, ...(entry && { entry }) });
  const reports: BatchReport[] = [];
  engine.on('batch', (report) => reports.push(report));
  const runner = new SequenceRunner(engine, tokenBudget);
  const run = async (spec: VectorSpec, sequences: readonly TokenSequence[], options: RunOptions = {}) => {
    const results: SequenceResult[] = [];
    const items = sequences.map((sequence, place) => ({ sequence, place }));
    await runner.run(spec, items, options, (done) => {
      for (const { item, result } of done) {
        expect(results[item.place]).toBeUndefined();
        results[item.place] = result;
      }
    });
    return results.map((result) => (result instanceof EngineError ? result.kind : result[0]));
  };
  return { engine, reports, run };
}

describe('sequences with the same tokens', () => {
  it('of one call run once, and each gets the result', async () => {
    const { reports, run } = start();
    const ids = [3, 4, 3, 5, 4, 3];
    expect(
      await run(
        wide(),
        ids.map((id) => Int32Array.of(id)),
      ),
    ).toEqual(ids);
    expect(reports.map(({ rows }) => rows)).toEqual([3]);
  });

  it('of several calls at a time run once', async () => {
    const { reports, run } = start();
    const spec = wide();
    const calls = [[1, 2], [2, 3], [1]].map((ids) =>
      run(
        spec,
        ids.map((id) => Int32Array.of(id)),
      ),
    );
    expect(await Promise.all(calls)).toEqual([[1, 2], [2, 3], [1]]);
    expect(reports.reduce((sum, { rows }) => sum + rows, 0)).toBe(3);
  });

  it('run again when they come later, for another session, with other scaling or more haste', async () => {
    const { reports, run } = start();
    const spec = wide();
    const one = [Int32Array.of(1)];
    await run(spec, one);
    await Promise.all([
      run(spec, one),
      run(wide(), one),
      run({ ...spec, normalize: true }, one),
      run(spec, one, { priority: 'interactive' }),
    ]);
    expect(reports.reduce((sum, { rows }) => sum + rows, 0)).toBe(5);
  });

  it('share the error', async () => {
    const { run } = start(undefined, faultyEntry('faulty'));
    const spec = wide();
    const bad = Int32Array.of(refuses);
    expect(await Promise.all([run(spec, [bad, Int32Array.of(1), bad]), run(spec, [bad])])).toEqual([
      ['run', 1, 'run'],
      ['run'],
    ]);
  });

  it('are told apart as pairs', async () => {
    const { reports, run } = start();
    const ids = Int32Array.of(1, 2);
    expect(await run(wide(), [ids, { ids, secondFrom: 1 }])).toEqual([1.5, 1.5]);
    expect(reports).toMatchObject([{ rows: 2 }]);
  });
});

describe('a lack of memory', () => {
  it('costs no row: the batch is halved, and the next ones are smaller', async () => {
    const { reports, run } = start(8, faultyEntry('faulty'));
    const spec = wide();
    const ids = [fills, 1, 2, 3, 4, 5, 6, 7];
    expect(
      await run(
        spec,
        ids.map((id) => Int32Array.of(id)),
      ),
    ).toEqual(ids);
    reports.length = 0;
    const more = Array.from({ length: 8 }, (_, id) => 100 + id);
    expect(
      await run(
        spec,
        more.map((id) => Int32Array.of(id)),
      ),
    ).toEqual(more);
    expect(Math.max(...reports.map(({ paddedTokens }) => paddedTokens))).toBe(2);
  });

  it('for a single row is its error', async () => {
    const { run } = start(8, faultyEntry('faulty'));
    expect(await run(wide(), [Int32Array.of(fills, 1, 2), Int32Array.of(5)])).toEqual(['memory', 5]);
  });
});
