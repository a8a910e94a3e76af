import type { Config } from '../config.ts';
import { UserError } from '../errors.ts';
import type { ModelTask } from './description.ts';
import { CPU_VARIANTS, isVariant, type Variant } from './variants.ts';

/** The model of a pipeline or a call that names none, and for which nothing else is set. */
export const DEFAULT_MODEL = 'all-MiniLM-L6-v2';

/** A model, and its variant where one is named. */
export interface ModelChoice {
  readonly name: string;
  readonly variant?: Variant;
}

/**
 * Reads `NAME` or `NAME:variant`.
 * @param by the flag or setting that gave it, for the error
 * @throws UserError for an unknown variant
 */
export function parseChoice(text: string, by = '--model'): ModelChoice {
  const [name = '', variant, ...rest] = text.split(':');
  if (variant === undefined) return { name };
  if (rest.length > 0 || !isVariant(variant)) {
    throw new UserError(`${by} '${text}' names no variant that there is`, {
      hint: `Write NAME or NAME:variant, with one of ${CPU_VARIANTS.join(', ')}`,
    });
  }
  return { name, variant };
}

/** The setting that names a task's model. */
const SETTINGS = {
  'feature-extraction': 'PGEMBEDDER_MODEL_FEATURE_EXTRACTION',
  'text-classification': 'PGEMBEDDER_MODEL_TEXT_CLASSIFICATION',
  'zero-shot-classification': 'PGEMBEDDER_MODEL_ZERO_SHOT_CLASSIFICATION',
  'token-classification': 'PGEMBEDDER_MODEL_TOKEN_CLASSIFICATION',
} as const satisfies Record<ModelTask, keyof Config>;

/** Whether this is the name of a task. */
export function isTask(text: string): text is ModelTask {
  return Object.hasOwn(SETTINGS, text);
}

/**
 * The model for a task where a call or a pipeline names none: the task's setting, else the bundled model for
 * feature-extraction and none for the others.
 * @throws UserError for a setting that cannot be read
 */
export function defaultModel(config: Config, task: ModelTask): ModelChoice | null {
  const set = config[SETTINGS[task]];
  if (set === undefined) return task === 'feature-extraction' ? { name: DEFAULT_MODEL } : null;
  return parseChoice(set, SETTINGS[task]);
}

/** The variants that the tasks' settings name, by model. Every use of the model takes that variant. */
export function pinnedVariants(config: Config): Map<string, Variant> {
  const pins = new Map<string, Variant>();
  for (const task of Object.keys(SETTINGS) as ModelTask[]) {
    const choice = defaultModel(config, task);
    if (choice?.variant) pins.set(choice.name, choice.variant);
  }
  return pins;
}
