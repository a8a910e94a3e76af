import { expect, it } from 'vitest';
import { parseChunking } from '../../src/chunking/parse-chunking.ts';
import type { UserError } from '../../src/errors.ts';
import { createModelStore } from '../../src/models/store.ts';
import { checkTaskOptions } from '../../src/tasks/task-options.ts';
import { taskNamed } from '../../src/tasks/tasks.ts';

// What is near is in test/sql/nearest.test.ts. Here: that those who refuse a name say it.
it.each<[string, () => unknown, string]>([
  ['a model', () => createModelStore({ directories: [] }).find('bge-small'), 'Xenova/bge-small-en-v1.5'],
  ['a task', () => taskNamed('text-clasification'), 'text-classification'],
  ['an option', () => checkTaskOptions('feature-extraction', { poling: 'cls' }), 'pooling'],
  ['a field of chunking', () => parseChunking({ stratgy: 'tokens' }), 'strategy'],
  ['a strategy', () => parseChunking({ strategy: 'recursiv' }), 'recursive'],
])('%s that is misspelt is told with the one that was meant', (_, refuse, meant) => {
  let hint: string | undefined;
  try {
    refuse();
  } catch (error) {
    ({ hint } = error as UserError);
  }
  expect(hint).toMatch(new RegExp(`^Did you mean "${meant}"\\? `));
});
