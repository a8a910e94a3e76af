import { describe, expect, it } from 'vitest';
import type { BatchReport } from '../../../../src/inference/backend/events.ts';
import { TokenBudgets } from '../../../../src/inference/batches/token-budgets.ts';

const session = { key: 'a', model: 'm' };
const plan = { tokenBudget: 1_000, mostSequences: 32 };

const budgetOf = (budgets: TokenBudgets, of = session) => budgets.apply(plan, of).tokenBudget;

/** Batches of one size that went well. */
function run(budgets: TokenBudgets, times: number, paddedTokens: number, of = session): void {
  const report: BatchReport = {
    ...{ session: of.key, model: of.model, priority: 'normal', rows: 1, tokens: paddedTokens, paddedTokens },
    ...{ waitMs: 0, runMs: 1 },
  };
  for (let batch = 0; batch < times; batch++) budgets.learn(report);
}

describe('the token budget', () => {
  it("is the plan's, or what is set, and the rest of the plan stays", () => {
    expect(new TokenBudgets(undefined).apply(plan, session)).toEqual(plan);
    expect(new TokenBudgets(300).apply(plan, session)).toEqual({ ...plan, tokenBudget: 300 });
  });

  it('is half of what was too much for memory, and of that session alone', () => {
    const budgets = new TokenBudgets(undefined);
    budgets.lower(plan, session, 800);
    expect(budgetOf(budgets)).toBe(400);
    budgets.lower(plan, session, 300);
    expect(budgetOf(budgets)).toBe(150);
    // A batch of before that failed later says nothing new.
    budgets.lower(plan, session, 900);
    expect(budgetOf(budgets)).toBe(150);
    expect(budgetOf(budgets, { key: 'b', model: 'm' })).toBe(1_000);
  });

  it('is not lowered below a sixteenth: a small batch that was killed says little about memory', () => {
    const budgets = new TokenBudgets(undefined);
    budgets.lower(plan, session, 20);
    expect(budgetOf(budgets)).toBe(62);
    const fixed = new TokenBudgets(8);
    fixed.lower(plan, session, 1);
    expect(budgetOf(fixed)).toBe(1);
  });

  it('is twice as much again after many batches that filled it', () => {
    const budgets = new TokenBudgets(undefined);
    budgets.lower(plan, session, 800);
    run(budgets, 63, 400);
    run(budgets, 100, 100);
    expect(budgetOf(budgets)).toBe(400);
    run(budgets, 1, 400);
    expect(budgetOf(budgets)).toBe(800);
    run(budgets, 64, 800);
    expect(budgetOf(budgets)).toBe(1_000);
  });
});
