import { z } from 'zod';
import { limits } from '../../limits.ts';

const TEXTS = limits.textsPerCall;
/** Most ids of one text: more than any model reads. */
const IDS = 100_000;

/** One text. */
export const text = z.string().min(1, 'a text must not be empty').max(limits.textCharacters);
const ids = z.array(z.int().min(0)).min(1).max(IDS);

/** Texts, or token ids, one or several. */
export const inputs = z
  .union(
    [text, z.array(text).min(1).max(TEXTS), ids, z.array(ids).min(1).max(TEXTS)],
    `give a text that is not empty, a list of 1 to ${TEXTS} of them, or token ids in their place`,
  )
  .describe("A text, a list of them, a text as ids of the model's own tokens, or a list of such.");

/** Texts, one or several. */
export const texts = z
  .union(
    [text, z.array(text).min(1).max(TEXTS)],
    `give a text that is not empty, or a list of 1 to ${TEXTS} of them`,
  )
  .describe('A text, or a list of them.');

export const model = z
  .string()
  .min(1)
  .max(200)
  .nullish()
  .describe(
    'A catalog name or ORG/NAME, with `:variant` for one of its variants. Default: the one that is set.',
  );

/** Names of the prompts, as several makers of models have them, by what they come to. */
const PROMPTS = {
  query: 'query',
  search_query: 'query',
  passage: 'passage',
  document: 'passage',
  search_document: 'passage',
} as const;

export const promptName = z
  .enum(Object.keys(PROMPTS) as (keyof typeof PROMPTS)[])
  .nullish()
  .describe("Which of the model's prompts is put before each text. Default: none.");

export const dimensions = z
  .int()
  .min(1)
  .max(65_536)
  .nullish()
  .describe('Numbers kept of each vector, the first ones: for models trained so.');

/** The prompt of a request. */
export function inputTypeOf(name: z.infer<typeof promptName>): 'query' | 'passage' | null {
  return name ? PROMPTS[name] : null;
}

/** The texts of a request as a list. */
export function listOf(given: z.infer<typeof texts>): readonly string[] {
  return typeof given === 'string' ? [given] : given;
}

/** The inputs of a request as a list. */
export function inputsOf(given: z.infer<typeof inputs>): readonly (string | readonly number[])[] {
  if (typeof given === 'string') return [given];
  return typeof given[0] === 'number' ? [given as number[]] : (given as string[] | number[][]);
}
