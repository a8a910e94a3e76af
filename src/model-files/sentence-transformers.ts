import { join } from 'node:path';
import { z } from 'zod';
import { UserError } from '../errors.ts';
import type { Prompts } from './description.ts';
import { readJson } from './model-folder.ts';

const modulesSchema = z.array(z.looseObject({ type: z.string() }));

const configSchema = z.looseObject({
  prompts: z.record(z.string(), z.string()).nullish(),
  default_prompt_name: z.string().nullish(),
});

/** The steps of a model that pgembedder can do. Dropout does nothing outside of training. */
const KNOWN_STEPS = ['Transformer', 'Pooling', 'Normalize', 'Dropout'];

/** The names that the prompt for passages may have, in the order of sentence-transformers' encode_document. */
const PASSAGE_PROMPTS = ['document', 'passage', 'corpus'];

/**
 * The steps that make a vector, as sentence-transformers' `modules.json` lists them: `Transformer`, `Pooling`,
 * `Normalize`; null without that file. The names are those of the classes, without their modules.
 * @param shown what errors call the file
 * @throws UserError for a step that pgembedder does not have, such as Dense
 */
export function readModules(path: string, shown = path): string[] | null {
  const modules = readJson(path, modulesSchema);
  if (!modules) return null;
  const names = modules.map(({ type }) => type.slice(type.lastIndexOf('.') + 1));
  const unknown = names.find((name) => !KNOWN_STEPS.includes(name));
  if (unknown !== undefined) {
    throw new UserError(`${shown} asks for the module ${unknown}, which pgembedder does not have`, {
      hint: `Choose a model of the modules ${KNOWN_STEPS.slice(0, 3).join(', ')}`,
    });
  }
  return names;
}

/**
 * What is put before texts, from `config_sentence_transformers.json`: the prompt named for the role, else that of
 * `default_prompt_name`, as in sentence-transformers' `encode`; '' without either.
 */
export function readPrompts(directory: string): Prompts {
  const config = readJson(join(directory, 'config_sentence_transformers.json'), configSchema);
  const prompts = new Map(Object.entries(config?.prompts ?? {}));
  const fallback = prompts.get(config?.default_prompt_name ?? '') ?? '';
  const passage = PASSAGE_PROMPTS.map((name) => prompts.get(name)).find((prompt) => prompt !== undefined);
  return { query: prompts.get('query') ?? fallback, passage: passage ?? fallback };
}
