import { describe, expect, it } from 'vitest';
import { checkTaskOptions } from '../../../src/tasks/task-options.ts';
import type { TaskName } from '../../../src/tasks/tasks.ts';

describe('options of a task', () => {
  it('are filled in with the defaults', () => {
    expect(checkTaskOptions('text-classification', {})).toEqual({});
    expect(
      checkTaskOptions('zero-shot-classification', { labels: ['food, drink'], top_k: undefined }),
    ).toEqual({
      labels: ['food, drink'],
      hypothesis_template: 'This example is {}.',
      multi_label: false,
    });
    expect(checkTaskOptions('token-classification', {})).toEqual({ aggregation_strategy: 'simple' });
    expect(checkTaskOptions('feature-extraction', { pooling: 'cls' })).toEqual({ pooling: 'cls' });
  });

  it.each<[TaskName, object, RegExp]>([
    ['zero-shot-classification', {}, /labels: labels has to be a list of one or more texts/],
    ['zero-shot-classification', { labels: [] }, /labels: labels has to be a list of one or more texts/],
    ['zero-shot-classification', { labels: 'a,b' }, /labels: labels has to be a list/],
    ['zero-shot-classification', { labels: ['a', ' '] }, /labels\.1: a label is a text that is not blank/],
    ['zero-shot-classification', { labels: ['a', 'a'] }, /labels: a label is there twice/],
    [
      'zero-shot-classification',
      { labels: ['a'], hypothesis_template: 'It is.' },
      /hypothesis_template: it needs \{\} where the label goes/,
    ],
    ['text-classification', { top_k: 0, multi_label: 'yes' }, /top_k: .+; multi_label: /],
    ['text-classification', { labels: ['a'] }, /"labels"/],
    ['token-classification', { aggregation_strategy: 'last' }, /aggregation_strategy: .+"simple"/],
    ['feature-extraction', { pooling: 'sum' }, /pooling: .*"weighted_mean"/],
  ])('of %s that do not fit (%j) are one line', (task, options, message) => {
    expect(() => checkTaskOptions(task, options)).toThrow(
      expect.objectContaining({
        name: 'UserError',
        message: expect.stringMatching(message),
        line: expect.stringMatching(new RegExp(`^The options do not fit ${task}: .+\\. It takes .+$`)),
      }),
    );
  });
});
