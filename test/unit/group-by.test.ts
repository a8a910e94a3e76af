import { expect, it } from 'vitest';
import { groupBy } from '../../src/group-by.ts';

it('groupBy keeps the order of groups and items', () => {
  expect([...groupBy(['bb', 'a', 'cc', 'd'], (word) => word.length)]).toEqual([
    [2, ['bb', 'cc']],
    [1, ['a', 'd']],
  ]);
  expect(groupBy([], String).size).toBe(0);
});
