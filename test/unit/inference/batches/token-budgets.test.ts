import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { describe, expect, it } from 'vitest';
import type { BatchReport } from '../../../../src/inference/backend/batch-report.ts';
import { BudgetMemory } from '../../../../src/inference/batches/budget-memory.ts';
import { TokenBudgets } from '../../../../src/inference/batches/token-budgets.ts';
import { tinySpec } from '../tiny-model.ts';

const spec = tinySpec();
const logger = pino({ level: 'silent' });
const newFile = () => join(mkdtempSync(join(tmpdir(), 'pgembedder-budgets-')), 'sub', 'budgets.json');
const memoryIn = (file: string, profile = 'cpu 2x1') => new BudgetMemory(file, () => profile, logger);

function report(budget: number | null, tokensPerMs: number, tokens = budget ?? 1_000): BatchReport {
  return {
    session: spec.key,
    model: 'tiny',
    rank: 1,
    rows: 1,
    tokens,
    paddedTokens: tokens,
    waitMs: 0,
    runMs: tokens / tokensPerMs,
    budget,
  };
}

/** Asks for budgets and answers with batches of these speeds until they no longer change. */
function compare(budgets: TokenBudgets, speeds: Record<number, number>): number {
  for (let batch = 0; batch < 500; batch++) {
    const budget = budgets.next(spec, 2_048);
    budgets.learn(report(budget, speeds[budget]!));
  }
  return budgets.next(spec, 2_048);
}

describe('the budget', () => {
  it('is each of three in turn, until the fastest is known', () => {
    const budgets = new TokenBudgets(() => 1_000, false, memoryIn(newFile()));
    expect(Array.from({ length: 6 }, () => budgets.next(spec, 2_048))).toEqual([
      500, 1_000, 2_000, 500, 1_000, 2_000,
    ]);
    expect(compare(budgets, { 500: 10, 1000: 20, 2000: 30 })).toBe(2_000);
  });

  it('is the first for a small job, until the fastest is known', () => {
    const budgets = new TokenBudgets(() => 1_000, false, memoryIn(newFile()));
    expect([1, 2, 3].map(() => budgets.next(spec, 1_000))).toEqual([1_000, 1_000, 1_000]);
    compare(budgets, { 500: 10, 1000: 20, 2000: 30 });
    expect(budgets.next(spec, 1)).toBe(2_000);
  });

  it('stays the first where another one is faster by next to nothing', () => {
    const budgets = new TokenBudgets(() => 1_000, false, memoryIn(newFile()));
    expect(compare(budgets, { 500: 20.5, 1000: 20, 2000: 19 })).toBe(1_000);
  });

  it('is not judged by batches that are far from full, or were put together', () => {
    const budgets = new TokenBudgets(() => 1_000, false, memoryIn(newFile()));
    for (let batch = 0; batch < 500; batch++) {
      budgets.next(spec, 2_048);
      budgets.learn(report(500, 1_000, 200));
      budgets.learn(report(2_000, 1_000, 900));
      budgets.learn(report(null, 1_000));
    }
    expect(new Set([1, 2, 3].map(() => budgets.next(spec, 2_048))).size).toBe(3);
  });

  it('is the one that was set, and only that', () => {
    const file = newFile();
    const budgets = new TokenBudgets(() => 300, true, memoryIn(file));
    expect(compare(budgets, { 300: 1 })).toBe(300);
    expect(() => readFileSync(file)).toThrow();
  });
});

describe('what was found out', () => {
  it('is remembered for the same model, device and machine', () => {
    const file = newFile();
    compare(new TokenBudgets(() => 1_000, false, memoryIn(file)), { 500: 30, 1000: 20, 2000: 10 });
    expect(new TokenBudgets(() => 1_000, false, memoryIn(file)).next(spec, 2_048)).toBe(500);
    const elsewhere = new TokenBudgets(() => 1_000, false, memoryIn(file, 'cpu 4x4'));
    expect([elsewhere.next(spec, 2_048), elsewhere.next(spec, 2_048)]).toEqual([500, 1_000]);
    const changed = new TokenBudgets(() => 1_000, false, memoryIn(file));
    const other = { ...spec, expectedSha256: 'f'.repeat(64) };
    expect([changed.next(other, 2_048), changed.next(other, 2_048)]).toEqual([500, 1_000]);
  });

  it('keeps what others have written to the file', () => {
    const file = newFile();
    compare(new TokenBudgets(() => 1_000, false, memoryIn(file)), { 500: 30, 1000: 20, 2000: 10 });
    compare(new TokenBudgets(() => 1_000, false, memoryIn(file, 'other')), { 500: 1, 1000: 2, 2000: 3 });
    expect(Object.values(JSON.parse(readFileSync(file, 'utf8'))).sort()).toEqual([2_000, 500]);
  });

  it('is found out again where the file is damaged or cannot be written', () => {
    const file = newFile();
    compare(new TokenBudgets(() => 1_000, false, memoryIn(file)), { 500: 30, 1000: 20, 2000: 10 });
    writeFileSync(file, '{"a": "b"}');
    expect(compare(new TokenBudgets(() => 1_000, false, memoryIn(file)), { 500: 1, 1000: 1, 2000: 9 })).toBe(
      2_000,
    );
    const nowhere = memoryIn('/dev/null/budgets.json');
    expect(compare(new TokenBudgets(() => 1_000, false, nowhere), { 500: 1, 1000: 1, 2000: 9 })).toBe(2_000);
  });
});

describe('a lack of memory', () => {
  it('halves the batch that had it, and is forgotten by and by', () => {
    const budgets = new TokenBudgets(() => 1_000, true, memoryIn(newFile()));
    expect(budgets.next(spec, 1)).toBe(1_000);
    budgets.lower(spec, 1_000);
    expect(budgets.next(spec, 1)).toBe(500);
    budgets.lower(spec, 400);
    expect(budgets.next(spec, 1)).toBe(200);
    // Far from full, they say nothing about memory.
    for (let batch = 0; batch < 64; batch++) budgets.learn(report(200, 1, 50));
    expect(budgets.next(spec, 1)).toBe(200);
    for (let batch = 0; batch < 64; batch++) budgets.learn(report(200, 1));
    expect(budgets.next(spec, 1)).toBe(400);
    for (let batch = 0; batch < 128; batch++) budgets.learn(report(800, 1));
    expect(budgets.next(spec, 1)).toBe(1_000);
  });

  it('of a small batch leaves a sixteenth of the budget', () => {
    const budgets = new TokenBudgets(() => 1_000, true, memoryIn(newFile()));
    budgets.lower(spec, 5);
    expect(budgets.next(spec, 1)).toBe(62);
  });
});
