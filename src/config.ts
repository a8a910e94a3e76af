import { z } from 'zod';
import { UserError } from './errors.ts';
import { withSecretFiles } from './secret-files.ts';
import { type ModelSetting, modelSetting, tasks } from './tasks/tasks.ts';

const seconds = (fallback: number, least = 0.001) => z.coerce.number().min(least).default(fallback);

const count = z.coerce.number().int().min(1).optional();
/** One for each task. */
const models = Object.fromEntries(
  tasks.map(({ name, defaultModel }) => [
    modelSetting(name),
    z
      .string()
      .optional()
      .describe(
        defaultModel === null
          ? `The model for ${name} where a command names none, as NAME or NAME:variant.`
          : `The model where a command names none, as NAME or NAME:variant. A variant named here is used wherever that model is used. Default: ${defaultModel}.`,
      ),
  ]),
);
/** What `--device` and PGEMBEDDER_DEVICE may be. */
export const DEVICE_PATTERN = /^(?:auto|cpu|webgpu|coreml|(?:cuda|dml)(?::\d{1,2})?)$/;
export const DEVICE_CHOICES = 'auto, cpu, cuda, cuda:1 (the second card), webgpu, coreml or dml';
/** Where the HTTP server of a worker listens by default. */
export const DEFAULT_HTTP_ADDRESS = '127.0.0.1:8089';

/** What a token of the HTTP server may be for: running models, searching rows, reading what there is to see, and steering pipelines. */
export const SCOPES = ['infer', 'search', 'read', 'operate'] as const;
export type Scope = (typeof SCOPES)[number];

/** A token of the HTTP server and what it is for. */
export interface ScopedToken {
  readonly token: string;
  readonly scopes: readonly Scope[];
}

// What RFC 6750 lets a bearer token be.
const bearerToken = String.raw`[\w.~+/-]+=*`;
const scopedToken = new RegExp(`^((?:${SCOPES.join('|')})(?:\\+(?:${SCOPES.join('|')}))*):(${bearerToken})$`);

/**
 * Every setting there is, read from the environment once. The description of each one is what the docs print.
 * Empty values count as not set, so that `PGEMBEDDER_X=` in a compose file means the default.
 */
const schema = z.object({
  DATABASE_URL: z.string().optional().describe('The database, as postgres://user:password@host:port/name.'),
  PGEMBEDDER_MODELS_DIR: z
    .string()
    .optional()
    .describe(
      'Your folder of models, laid out as on a hub, ORG/NAME/onnx/*.onnx: `models pull` writes there, and it is searched before the bundled ones. Default: pgembedder/models in XDG_DATA_HOME, else in ~/.local/share.',
    ),
  XDG_DATA_HOME: z.string().optional().describe('See PGEMBEDDER_MODELS_DIR.'),
  ...models,
  PGEMBEDDER_ENDPOINTS: z
    .string()
    .optional()
    .describe(
      'A JSON file that lists servers elsewhere that run models (OpenAI, text-embeddings-inference, Ollama and what speaks like them): docs/endpoints.md. Texts are sent to these and to no others. Default: none.',
    ),
  PGEMBEDDER_HUB_URL: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe(
      `The hub that models are pulled from: any server that speaks the Hugging Face Hub's protocol. Default: HF_ENDPOINT, else the public hub.`,
    ),
  HF_ENDPOINT: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('See PGEMBEDDER_HUB_URL.'),
  PGEMBEDDER_HUB_TOKEN: z
    .string()
    .optional()
    .describe('The token for models that need one. It is sent to the hub alone. Default: HF_TOKEN.'),
  HF_TOKEN: z.string().optional().describe('See PGEMBEDDER_HUB_TOKEN.'),
  PGEMBEDDER_OFFLINE: z
    .stringbool()
    .optional()
    .describe(
      'true: `models pull` refuses to fetch anything. Nothing else fetches models; endpoints are asked even so. Default: HF_HUB_OFFLINE, else false.',
    ),
  HF_HUB_OFFLINE: z.stringbool().optional().describe('See PGEMBEDDER_OFFLINE.'),
  PGEMBEDDER_HTTP: z
    .string()
    .refine(isHttpSetting, 'write it as host:port, [::1]:port for IPv6, or off')
    .default(DEFAULT_HTTP_ADDRESS)
    .describe(
      'Where a worker, or `pgembedder serve`, answers HTTP, as host:port; 0.0.0.0:8089 in a container; off for nowhere.',
    ),
  PGEMBEDDER_HTTP_TOKEN: z
    .string()
    .regex(new RegExp(`^${bearerToken}$`), 'use letters, digits and -._~+/ only')
    .optional()
    .describe(
      'Requests for more than health have to send it, as `Authorization: Bearer ...`. It is for everything. Needed on an address that other machines can reach.',
    ),
  PGEMBEDDER_HTTP_TOKENS: z
    .string()
    .transform(readTokens)
    .default([])
    .describe(
      'Tokens for a part of it, separated by blanks or lines, each as `SCOPES:TOKEN`: `infer:abc read+operate:def`. infer: run models; search: search rows; read: metrics and the dashboard; operate: steer pipelines. A line that begins with # is a comment.',
    ),
  PGEMBEDDER_HTTP_OPEN: z
    .stringbool()
    .default(false)
    .describe('true: serve other machines without a token. For networks that keep strangers out.'),
  PGEMBEDDER_HTTP_API: z
    .stringbool()
    .optional()
    .describe(
      'Whether a worker runs models for HTTP requests too (`/v1/embeddings` and others). Default: true, but false where PGEMBEDDER_HTTP_OPEN lets other machines in without a token.',
    ),
  PGEMBEDDER_HTTP_SEARCH: z
    .string()
    .optional()
    .describe(
      'Pipelines that a worker searches for HTTP requests: their names, `articles,notes`, or a JSON file that says more of each (`/etc/pgembedder/search.json`): docs/http.md. Default: none.',
    ),
  PGEMBEDDER_HTTP_CORS: z
    .string()
    .transform(words)
    .refine((origins) => origins.every(isOrigin), 'write origins as https://app.example, or * for all')
    .default([])
    .describe(
      'Web pages that may read the answers in a browser, by their origins: `https://app.example http://localhost:3000`, or `*`. Default: none.',
    ),
  PGEMBEDDER_LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe('The least level that is logged.'),
  PGEMBEDDER_DEVICE: z
    .string()
    .regex(DEVICE_PATTERN, `must be ${DEVICE_CHOICES}`)
    .default('auto')
    .describe(
      `What runs the models: ${DEVICE_CHOICES}. auto takes a GPU that works and is worth it, else the CPU, and logs why.`,
    ),
  PGEMBEDDER_ENGINES: count.describe(
    'Most engine processes of one model; each has it in memory. More than one are started when batches pile up. Default: one for each physical core, up to 4.',
  ),
  PGEMBEDDER_THREADS: count.describe(
    'Threads that one run of the model uses. Default: the physical cores divided by the engine processes.',
  ),
  PGEMBEDDER_TOKEN_BUDGET: count.describe(
    'Most tokens of one batch, padding included. Default: 1,024 on a CPU, 16,384 on a GPU.',
  ),
  PGEMBEDDER_ENGINE_MEMORY_MB: count.describe(
    'When the engine processes take more, models that have nothing to do are unloaded, the longest unused first. Default: no limit.',
  ),
  // Timers take no more than 2^31 ms.
  PGEMBEDDER_IDLE_SECONDS: z.coerce
    .number()
    .min(0.001)
    .max(2_000_000)
    .default(600)
    .describe(
      'A model that had nothing to do for this long is unloaded, and its memory goes back to the system.',
    ),
  PGEMBEDDER_WINDOW: z.coerce
    .number()
    .int()
    .min(1)
    .max(100_000)
    .default(2048)
    .describe('Rows claimed at once and sorted by length before they are cut into batches.'),
  PGEMBEDDER_LEASE_SECONDS: seconds(60, 5).describe(
    'How long a claim holds before another worker may take the row; renewed while the row is worked on.',
  ),
  PGEMBEDDER_QUIET_IDLE: z.coerce
    .number()
    .min(60)
    .max(2_000_000)
    .optional()
    .describe(
      'For databases that sleep when nobody asks them anything: after a minute without work the worker only LISTENs, and looks at the database itself once in so many seconds. Default: it never does.',
    ),
  PGEMBEDDER_STOP_SECONDS: seconds(20, 0).describe(
    'How long SIGTERM waits for batches that are under way before it gives their rows back.',
  ),
  PGEMBEDDER_RETRY_BASE_SECONDS: seconds(2).describe(
    'Wait before the second attempt of a failed row; doubled for each further one.',
  ),
  PGEMBEDDER_RETRY_LIMIT_SECONDS: seconds(600).describe('Longest wait between two attempts.'),
});

function isHttpSetting(setting: string): boolean {
  const port = /^(?:\[[\da-fA-F:.]+\]|[^:[\]\s]+):(\d+)$/.exec(setting)?.[1];
  return setting === 'off' || (port !== undefined && Number(port) <= 65_535);
}

function words(setting: string): string[] {
  return setting.split(/\s+/).filter((word) => word !== '');
}

function isOrigin(origin: string): boolean {
  if (origin === '*') return true;
  return URL.canParse(origin) && new URL(origin).origin === origin;
}

function readTokens(setting: string, context: z.RefinementCtx): ScopedToken[] {
  const entries = words(setting.replace(/^\s*#.*$/gm, ''));
  return entries.flatMap((entry, place) => {
    const [, scopes, token] = scopedToken.exec(entry) ?? [];
    if (scopes !== undefined && token !== undefined) {
      return [{ token, scopes: scopes.split('+') as Scope[] }];
    }
    // Not the entry itself: it holds a secret.
    const message = `entry ${place + 1} is not SCOPES:TOKEN with scopes of ${SCOPES.join(', ')}, as in infer+read:abc`;
    context.addIssue({ code: 'custom', message });
    return [];
  });
}

/** Checked settings; the keys are the names of the environment variables. */
export type Config = z.infer<typeof schema> & { [Setting in ModelSetting]?: string };

/** One line of the settings table: a variable's name, its default (null: none) and what it means. */
export interface SettingDescription {
  name: string;
  fallback: string | null;
  meaning: string;
}

/**
 * Reads the settings out of an environment; secrets may be in files, see {@link withSecretFiles}.
 * @throws UserError naming every variable that does not fit, and what it must be.
 */
export function readConfig(environment: NodeJS.ProcessEnv): Config {
  const given = Object.fromEntries(
    Object.entries(withSecretFiles(environment)).filter(([, value]) => value !== ''),
  );
  const result = schema.safeParse(given);
  if (result.success) return result.data;
  const problems = result.error.issues.map((issue) => `${issue.path.join('.')}: ${issue.message}`);
  throw new UserError(`The environment is not right: ${problems.join('; ')}`);
}

/** Every setting, for the docs and for `--help`. */
export function describeSettings(): SettingDescription[] {
  const defaults: Record<string, unknown> = schema.parse({});
  return Object.entries(schema.shape).map(([name, field]) => ({
    name,
    fallback: String(defaults[name] ?? '') || null,
    meaning: field.description ?? '',
  }));
}
