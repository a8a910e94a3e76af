import type { Config } from '../config.ts';
import { isVariant, type Variant } from '../model-files/variants.ts';
import { DEFAULT_TASK, modelSetting, taskNamed, tasks } from '../tasks/tasks.ts';

/** The model of a pipeline or a call that names none, and for which nothing else is set. */
export const DEFAULT_MODEL = taskNamed(DEFAULT_TASK).defaultModel!;

/** A model, and its variant where one is named. */
export interface ModelChoice {
  readonly name: string;
  readonly variant?: Variant;
}

/** Reads `NAME`, `NAME:variant` or `ENDPOINT:MODEL`, whose MODEL is no name of a variant. */
export function parseChoice(text: string): ModelChoice {
  const [name = '', variant, ...rest] = text.split(':');
  return variant !== undefined && rest.length === 0 && isVariant(variant)
    ? { name, variant }
    : { name: text };
}

/** The model for a task where a call or a pipeline names none: the task's setting, else its default; null where it has none. */
export function defaultModel(config: Config, task: string): ModelChoice | null {
  const { defaultModel: name } = taskNamed(task);
  const setting = modelSetting(task);
  const set = config[setting];
  if (set !== undefined) return parseChoice(set);
  return name === null ? null : { name };
}

/** The variants that the tasks' settings name, by model. Every use of the model takes that variant. */
export function pinnedVariants(config: Config): Map<string, Variant> {
  const pins = new Map<string, Variant>();
  for (const { name } of tasks) {
    const choice = defaultModel(config, name);
    if (choice?.variant) pins.set(choice.name, choice.variant);
  }
  return pins;
}
