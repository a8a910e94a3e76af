import type { TaskGiving, TaskName } from '../../src/tasks/tasks.ts';

/** Values of an option that are right, and values that are wrong; as JSON has them. */
export interface OptionCases {
  readonly right: readonly unknown[];
  readonly wrong: readonly unknown[];
  /** Another option that has to be given with it. */
  readonly beside?: object;
}

const trueOrFalse: OptionCases = { right: [true, false], wrong: [null, 'true', 1, []] };
const labels = (count: number) => Array.from({ length: count }, (_, i) => `label ${i}`);
const wholeNumber = (most: number): OptionCases => ({
  right: [1, 10, most],
  wrong: [0, -1, 1.5, most + 1, '1', null, true, [1]],
});
/** Outside the basic plane: two units in JavaScript, one character in PostgreSQL. */
const long = (characters: number) => '\u{1f600}'.repeat(characters);

/** Cases of each option of each task that a pipeline may have, with the other options that the task cannot do without. */
export const taskOptionCases: Readonly<
  Record<
    Exclude<TaskName, TaskGiving<'score'>>,
    { needed: object; options: Readonly<Record<string, OptionCases>> }
  >
> = {
  'feature-extraction': {
    needed: {},
    options: {
      pooling: {
        right: ['mean', 'cls', 'last', 'max', 'mean_sqrt_len', 'weighted_mean'],
        wrong: ['Mean', 'sum', '', null, 1],
      },
      normalize: trueOrFalse,
      prompt: {
        right: ['', 'query: ', 'x'.repeat(10_000), long(10_000)],
        wrong: [7, null, ['x'], 'x'.repeat(10_001), long(10_001), 'a\0b', '\ud83d'],
      },
      dimensions: wholeNumber(16_000),
      vector_type: { right: ['vector', 'halfvec', 'sparsevec'], wrong: ['bit', 'VECTOR', '', null, 1] },
      top_k: { ...wholeNumber(16_000), beside: { vector_type: 'sparsevec' } },
    },
  },
  'text-classification': {
    needed: {},
    options: { top_k: wholeNumber(99_999), multi_label: trueOrFalse },
  },
  'zero-shot-classification': {
    needed: { labels: ['a', 'b'] },
    options: {
      labels: {
        right: [
          ['one'],
          ['food, drink', ' sport ', 'Sport'],
          // Only what ASCII has of white space makes a label blank.
          ['\u00a0', 'a'],
          labels(1_000),
          ['x'.repeat(1_000), long(1_000)],
        ],
        wrong: [
          [],
          ['a', 'a'],
          ['a', ''],
          ['a', ' \t\n\v\f\r'],
          ['a', 7],
          ['a', null],
          [['a']],
          'a',
          {},
          null,
          labels(1_001),
          ['x'.repeat(1_001)],
          [long(1_001)],
          ['a\0b'],
          ['\udc00'],
        ],
      },
      hypothesis_template: {
        right: ['{}', 'It is about {} or {}.', '{}'.padEnd(1_000), `{}${long(998)}`],
        wrong: ['', 'It is about it.', '{}'.padEnd(1_001), `{}${long(999)}`, 7, null, '{}\0'],
      },
      multi_label: trueOrFalse,
      top_k: wholeNumber(99_999),
    },
  },
  'token-classification': {
    needed: {},
    options: {
      aggregation_strategy: {
        right: ['none', 'simple', 'first', 'average', 'max'],
        wrong: ['Simple', 'mean', '', null, 1, true],
      },
    },
  },
};

/** Ways to cut texts into chunks. The template is not among them: PostgreSQL alone reads it. */
export const chunkingCases: { readonly right: readonly object[]; readonly wrong: readonly object[] } = {
  right: [
    { strategy: 'tokens' },
    { strategy: 'recursive', size: 8 },
    { strategy: 'markdown', size: 8_192 },
    { strategy: 'tokens', size: 8_192, overlap: 4_095 },
    { strategy: 'tokens', size: 9, overlap: 4 },
    { strategy: 'recursive', overlap: 0 },
    { strategy: 'recursive', overlap: 127 },
    { strategy: 'recursive', separators: ['\n\n', ' ', '。', '\u{1f600}'] },
    { strategy: 'markdown', separators: ['a'.repeat(100), long(100)] },
    { strategy: 'recursive', separators: labels(20) },
    { strategy: 'recursive', separators: ['a', 'a'] },
  ],
  wrong: [
    { size: 256 },
    { strategy: 'words' },
    { strategy: 'Tokens' },
    { strategy: null },
    { strategy: 'tokens', size: 7 },
    { strategy: 'tokens', size: 8_193 },
    { strategy: 'tokens', size: 9.5 },
    { strategy: 'tokens', size: '256' },
    { strategy: 'tokens', size: null },
    { strategy: 'tokens', size: true },
    { strategy: 'tokens', overlap: -1 },
    { strategy: 'tokens', overlap: 128 },
    { strategy: 'tokens', size: 8, overlap: 4 },
    { strategy: 'tokens', overlap: 1.5 },
    { strategy: 'tokens', overlap: null },
    { strategy: 'tokens', seperators: ['a'] },
    { strategy: 'tokens', separators: ['a'] },
    { strategy: 'recursive', separators: [] },
    { strategy: 'recursive', separators: [''] },
    { strategy: 'recursive', separators: ['a', ''] },
    { strategy: 'recursive', separators: 'a' },
    { strategy: 'recursive', separators: null },
    { strategy: 'recursive', separators: { a: 'b' } },
    { strategy: 'recursive', separators: ['a', 1] },
    { strategy: 'recursive', separators: ['a', null] },
    { strategy: 'recursive', separators: labels(21) },
    { strategy: 'recursive', separators: ['a'.repeat(101)] },
    { strategy: 'recursive', separators: [long(101)] },
    { strategy: 'recursive', separators: ['\udc00'] },
    { strategy: 'recursive', separators: ['a\0'] },
  ],
};
