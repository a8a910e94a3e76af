import { readFileSync } from 'node:fs';
import { z } from 'zod';
import { messageOf, UserError } from '../../errors.ts';

/** A condition of the operator's, in which the client's value stands as $1. */
const condition = z
  .string()
  .regex(/\$1(?!\d)/, 'write the value as $1, as in lang = $1')
  .refine((text) => !/\$(?!1(?!\d))\d/.test(text), 'it has one value, $1');

const word = z.string().regex(/^[A-Za-z_]\w{0,62}$/, 'a name is letters, digits and _');

const pipeline = z.strictObject({
  role: z.string().min(1).nullable().default(null),
  columns: z.array(z.string().min(1)).max(100).default([]),
  input: z.boolean().default(true),
  filters: z.record(word, condition).default({}),
  condition: z.string().min(1).nullable().default(null),
  settings: z
    .record(word, z.string().regex(/^\w+(\.\w+)+$/, 'name a setting of your own, as in app.tenant'))
    .default({}),
  language: z.string().min(1).default('english'),
  timeout_seconds: z.number().min(0.01).max(60).default(5),
});

const file = z.record(z.string().min(1), pipeline);

/**
 * A pipeline that may be searched over HTTP, and what of it: the role that searches, columns of the source that answers have,
 * whether they have the input too, conditions that clients name and the one that always holds, settings that clients give, the
 * language of its words, and how long a statement may take.
 */
export interface OpenedPipeline extends z.infer<typeof pipeline> {
  readonly name: string;
}

/**
 * The pipelines of the setting PGEMBEDDER_HTTP_SEARCH: their names, or a JSON file (`*.json`) that says more of each.
 * @throws UserError naming in one line what is not right
 */
export function readOpened(setting: string | undefined): OpenedPipeline[] {
  if (setting === undefined) return [];
  if (setting.endsWith('.json')) return readFile(setting);
  const names = setting.split(',').map((name) => name.trim());
  return [...new Set(names)].filter(Boolean).map((name) => ({ name, ...pipeline.parse({}) }));
}

function readFile(path: string): OpenedPipeline[] {
  const result = file.safeParse(readJson(path));
  if (!result.success) {
    const problems = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
    throw new UserError(`${path} is not right: ${problems.join('; ')}`, {
      hint: 'docs/http.md says what it may hold',
    });
  }
  return Object.entries(result.data).map(([name, opened]) => ({ name, ...opened }));
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`PGEMBEDDER_HTTP_SEARCH: the file cannot be read: ${messageOf(error)}`);
  }
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new UserError(`${path} is not JSON: ${messageOf(error)}`, { hint: 'docs/http.md has an example' });
  }
}
