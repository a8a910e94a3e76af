import type { z } from 'zod';
import { UserError } from '../errors.ts';
import type { LogitsModel } from '../model-files/description.ts';
import { didYouMean } from '../nearest.ts';
import type { LabelResult } from './results.ts';
import type { PreparedRanking, PreparedTask } from './task.ts';
import { type TaskGiving, type TaskName, type TaskNamed, taskNamed } from './tasks.ts';
import type { TextTokenizer } from './text-tokenizer.ts';

/** The options of a task, complete. */
export type TaskOptions<Name extends TaskName> = z.infer<TaskNamed<Name>['options']>;

type Intersection<Union> = (Union extends unknown ? (each: Union) => void : never) extends (
  all: infer All,
) => void
  ? All
  : never;

/** The options of several tasks together, none of them needed. */
type AnyOptions<Name extends TaskName> = Partial<
  Intersection<Name extends TaskName ? TaskOptions<Name> : never>
>;

/** The options of all tasks together: what a pipeline may have. */
export type AnyTaskOptions = AnyOptions<TaskName>;

/** The options of the tasks that label, together: what a caller may give. */
export type LabelTaskOptions = AnyOptions<TaskGiving<'labels' | 'spans'>>;

/** The options of the tasks that rank, together. */
export type RankTaskOptions = AnyOptions<TaskGiving<'score'>>;

/** The names of a task's options. */
export function optionNames(task: string): string[] {
  return Object.keys(taskNamed(task).options.shape);
}

/**
 * Checks the options of a pipeline (or of a call) against its task and fills in the defaults. Options that are
 * undefined count as not given. embedder.check_options in SQL has the same rules (test/sql/options.test.ts).
 * @throws UserError, in one line, naming every option that does not fit
 *
 * @example
 * checkTaskOptions('zero-shot-classification', { labels: ['sport', 'food, drink'] }).hypothesis_template
 */
export function checkTaskOptions<Name extends TaskName>(task: Name, options: object): TaskOptions<Name>;
export function checkTaskOptions(task: string, options: object): Record<string, unknown>;
export function checkTaskOptions(task: string, options: object): Record<string, unknown> {
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const result = taskNamed(task).options.safeParse(given);
  if (!result.success) {
    const problems = result.error.issues.map((issue) =>
      [...(issue.path.length > 0 ? [issue.path.join('.')] : []), issue.message].join(': '),
    );
    const names = optionNames(task);
    const unknown = Object.keys(given).find((name) => !names.includes(name)) ?? '';
    throw new UserError(`The options do not fit ${task}: ${problems.join('; ')}`, {
      hint: `${didYouMean(unknown, names)}It takes ${names.join(', ')}`,
    });
  }
  return result.data;
}

/** The task of a model that labels, with its options. @throws UserError when they do not fit */
export function labelTask(
  model: LogitsModel,
  tokenizer: TextTokenizer,
  options: object,
): PreparedTask<LabelResult> {
  return prepared(model, tokenizer, options) as PreparedTask<LabelResult>;
}

/** The task of a model that ranks, with its options. @throws UserError when they do not fit */
export function rankingTask(model: LogitsModel, tokenizer: TextTokenizer, options: object): PreparedRanking {
  return prepared(model, tokenizer, options) as PreparedRanking;
}

function prepared(model: LogitsModel, tokenizer: TextTokenizer, options: object) {
  return taskNamed(model.task).prepare!(model, tokenizer, checkTaskOptions(model.task, options));
}
