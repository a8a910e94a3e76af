import { z } from 'zod';
import { limits } from '../limits.ts';
import { isVariant } from '../model-files/variants.ts';
import { isStorable } from '../text-length.ts';

/** What servers may speak: OpenAI's embeddings, text-embeddings-inference, or Ollama's own. */
export const APIS = ['openai', 'tei', 'ollama'] as const;
export type Api = (typeof APIS)[number];

const unique = (names: readonly string[]) => new Set(names).size === names.length;
const prompt = z.string().max(limits.promptCharacters).refine(isStorable, 'is not well-formed text');

const model = z.strictObject({
  name: z
    .string()
    .regex(/^[^\s\p{C}]{1,200}$/u, 'is 1 to 200 characters without spaces')
    .refine(
      (name) => !isVariant(name),
      'is the name of a variant: NAME:variant means a model on this machine',
    ),
  dimensions: z.int().min(1).max(16_000),
  max_tokens: z.int().min(8).max(1_000_000),
  prompts: z
    .strictObject({ query: prompt.default(''), passage: prompt.default('') })
    .default({ query: '', passage: '' }),
  tokenizer: z.string().min(1).optional(),
});

const limitsOfEndpoint = z.strictObject({
  requests_per_minute: z.int().min(1).optional(),
  tokens_per_minute: z.int().min(1).optional(),
  inputs_per_request: z.int().min(1).max(2_048).default(32),
  concurrent_requests: z.int().min(1).max(256).default(4),
  timeout_seconds: z.number().min(0.1).max(3_600).default(60),
});

const endpoint = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9][\w.-]{0,62}$/, 'is letters, digits and ._- (at most 63)'),
  url: z
    .url({ protocol: /^https?$/, error: 'is an address that begins with http:// or https://' })
    .refine((url) => {
      const { username, password } = new URL(url);
      return username === '' && password === '';
    }, 'holds a user name or a password: give them as key'),
  api: z.enum(APIS),
  key: z
    .union(
      [
        z.strictObject({ env: z.string().min(1), header: headerName() }),
        z.strictObject({ file: z.string().min(1), header: headerName() }),
      ],
      'is {"env": "NAME"} or {"file": "PATH"}: the key itself does not stand here',
    )
    .optional(),
  models: z
    .array(model)
    .min(1)
    .refine((models) => unique(models.map(({ name }) => name)), 'has a name twice'),
  limits: limitsOfEndpoint.prefault({}),
  encoding: z.enum(['base64', 'float']).default('base64'),
  pipelines: z.array(z.string().min(1)).optional(),
});

/** The file that an operator writes. docs/endpoints.md says what each field means. */
export const endpointsFile = z.strictObject({
  endpoints: z
    .array(endpoint)
    .refine((endpoints) => unique(endpoints.map(({ name }) => name)), 'has a name twice'),
});

/** The names of all fields. */
export const FIELDS = [endpointsFile, endpoint, model, limitsOfEndpoint].flatMap(({ shape }) =>
  Object.keys(shape),
);

export type EndpointSettings = z.infer<typeof endpoint>;
export type EndpointLimits = EndpointSettings['limits'];
export type ListedModel = EndpointSettings['models'][number];

/** A server that runs models, as the operator has listed it. */
export interface Endpoint extends Omit<EndpointSettings, 'key'> {
  /**
   * The header with its key; none where it has no key. Read anew each time, so that a file may change.
   * @throws UserError when the key is not there
   */
  readonly authorization: () => Readonly<Record<string, string>>;
}

/** The name of an endpoint's model, in pipelines and calls. */
export function modelName(endpoint: { readonly name: string }, model: { readonly name: string }): string {
  return `${endpoint.name}:${model.name}`;
}

/** In place of `Authorization: Bearer KEY`: this header, with the key as it is. */
function headerName() {
  return z
    .string()
    .regex(/^[\w-]{1,100}$/, 'is the name of a header')
    .optional();
}
