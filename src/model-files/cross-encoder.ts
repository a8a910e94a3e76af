import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.ts';
import { readJson } from './model-folder.ts';

/** How the logit of a pair of texts becomes its score: from 0 to 1 by the sigmoid, or as it is. */
export type ScoreActivation = 'sigmoid' | 'none';

/** Activations by the names of their classes in torch. */
const ACTIVATIONS: Readonly<Record<string, ScoreActivation>> = { Sigmoid: 'sigmoid', Identity: 'none' };

const sentenceSchema = z.looseObject({
  activation_fn: z.string().nullish(),
  prompts: z.record(z.string(), z.string()).nullish(),
  default_prompt_name: z.string().nullish(),
});
const configSchema = z.looseObject({
  sentence_transformers: z.looseObject({ activation_fn: z.string().nullish() }).nullish(),
  sbert_ce_default_activation_function: z.string().nullish(),
});

/**
 * How sentence-transformers' CrossEncoder makes a score of a logit: `activation_fn` of `config_sentence_transformers.json`, else the
 * same field in `sentence_transformers` of `config.json`, else the older `sbert_ce_default_activation_function` there; the sigmoid
 * where none of them names a class of torch.
 * @throws UserError for a class of torch that pgembedder does not have
 */
export function readScoreActivation(directory: string): ScoreActivation {
  const sentence = readJson(join(directory, 'config_sentence_transformers.json'), sentenceSchema);
  const path = join(directory, 'config.json');
  const config = readJson(path, configSchema);
  const named = [
    sentence?.activation_fn,
    config?.sentence_transformers?.activation_fn ?? config?.sbert_ce_default_activation_function,
  ].find((name) => name?.startsWith('torch.'));
  if (!named) return 'sigmoid';
  const name = named.slice(named.lastIndexOf('.') + 1);
  const activation = ACTIVATIONS[name];
  if (activation) return activation;
  throw new UserError(`${path} asks for the activation ${name}, which pgembedder does not have`, {
    hint: `Choose a model with one of ${Object.keys(ACTIVATIONS).join(', ')}`,
  });
}

/** What sentence-transformers puts before the query of a pair: the prompt of `default_prompt_name`; '' without. */
export function readRankingPrompt(directory: string): string {
  const { prompts, default_prompt_name: name } =
    readJson(join(directory, 'config_sentence_transformers.json'), sentenceSchema) ?? {};
  return (name && Object.hasOwn(prompts ?? {}, name) && prompts?.[name]) || '';
}
