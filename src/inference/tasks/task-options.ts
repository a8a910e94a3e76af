import { z } from 'zod';
import { UserError } from '../../errors.ts';
import { type ModelTask, POOLINGS } from '../../models/description.ts';
import { isLonger, isStorable } from '../../text-length.ts';
import { limits } from '../backend/limits.ts';

/** A text that PostgreSQL stores as well, of so many characters, as PostgreSQL counts them. */
const text = (longest: number, what = 'it') =>
  z
    .string()
    .refine((given) => !isLonger(given, longest), `${what} has at most ${longest} characters`)
    .refine(isStorable, `${what} must be well-formed text without NUL`);

/** Labels kept in the result's detail, the best first. */
const topK = z.int().min(1).max(99_999).optional();
const oneLabel = text(limits.labelCharacters, 'a label').refine(
  (label) => /[^ \t\n\v\f\r]/.test(label),
  'a label is a text that is not blank',
);

const schemas = {
  'feature-extraction': z.strictObject({
    pooling: z.enum(POOLINGS).optional(),
    normalize: z.boolean().optional(),
    /** pgvector holds no longer vectors. */
    dimensions: z.int().min(1).max(16_000).optional(),
    prompt: text(limits.promptCharacters).optional(),
    /** In what the database keeps them. */
    vector_type: z.enum(['vector', 'halfvec']).optional(),
  }),
  'text-classification': z.strictObject({
    top_k: topK,
    /** True: each label has a score of its own. False: they compete. Default: what the model was trained for. */
    multi_label: z.boolean().optional(),
  }),
  'zero-shot-classification': z.strictObject({
    labels: z
      .array(oneLabel, 'labels has to be a list of one or more texts')
      .min(1, 'labels has to be a list of one or more texts')
      .max(limits.labels, `there may be ${limits.labels} of them`)
      .refine((labels) => new Set(labels).size === labels.length, 'a label is there twice'),
    /** The sentence that is tried for each label, which takes the place of {}. */
    hypothesis_template: text(limits.templateCharacters)
      .refine((template) => template.includes('{}'), 'it needs {} where the label goes')
      .default('This example is {}.'),
    /** Whether several labels may hold at once: each has a score of its own then, else they sum to 1. */
    multi_label: z.boolean().default(false),
    top_k: topK,
  }),
  'token-classification': z.strictObject({
    /** How tokens become entities; the names and the rules are those of transformers' pipeline. */
    aggregation_strategy: z.enum(['none', 'simple', 'first', 'average', 'max']).default('simple'),
  }),
} satisfies Record<ModelTask, z.ZodType>;

/** The names of a task's options. */
export function optionNames(task: ModelTask): string[] {
  return Object.keys(schemas[task].shape);
}

/** The options of a task, complete. */
export type TaskOptions<Task extends ModelTask> = z.infer<(typeof schemas)[Task]>;

/** The options of the classification tasks together, none of them needed: what a caller may give. */
export type LabelTaskOptions = Partial<
  TaskOptions<'text-classification'> &
    TaskOptions<'zero-shot-classification'> &
    TaskOptions<'token-classification'>
>;

/** How tokens become entities. */
export type AggregationStrategy = TaskOptions<'token-classification'>['aggregation_strategy'];

/**
 * Checks the options of a pipeline (or of a call) against its task and fills in the defaults. Options that are
 * undefined count as not given. embedder.check_options in SQL has the same rules (test/sql/options.test.ts).
 * @throws UserError, in one line, naming every option that does not fit
 *
 * @example
 * checkTaskOptions('zero-shot-classification', { labels: ['sport', 'food, drink'] }).hypothesis_template
 */
export function checkTaskOptions<Task extends ModelTask>(task: Task, options: object): TaskOptions<Task> {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const schema: z.ZodType = schemas[task];
  const result = schema.safeParse(given);
  if (!result.success) {
    const problems = result.error.issues.map((issue) =>
      [...(issue.path.length > 0 ? [issue.path.join('.')] : []), issue.message].join(': '),
    );
    throw new UserError(`The options do not fit ${task}: ${problems.join('; ')}`, {
      hint: `It takes ${optionNames(task).join(', ')}`,
    });
  }
  // The schema is the one of this task; the compiler does not follow the lookup.
  return result.data as TaskOptions<Task>;
}
