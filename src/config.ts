import { z } from 'zod';
import { UserError } from './errors.ts';
import { withSecretFiles } from './secret-files.ts';

const seconds = (fallback: number, least = 0.001) => z.coerce.number().min(least).default(fallback);

/** Where the HTTP server of a worker listens when nobody says. */
export const DEFAULT_HTTP_ADDRESS = '127.0.0.1:8089';

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
      'A folder of models laid out as on a hub, ORG/NAME/onnx/*.onnx; searched before the bundled ones.',
    ),
  PGEMBEDDER_HTTP: z
    .string()
    .refine(isHttpSetting, 'write it as host:port, [::1]:port for IPv6, or off')
    .default(DEFAULT_HTTP_ADDRESS)
    .describe(
      'Where a worker serves health and metrics, as host:port; 0.0.0.0:8089 in a container; off for nowhere.',
    ),
  PGEMBEDDER_HTTP_TOKEN: z
    .string()
    // What RFC 6750 lets a bearer token be.
    .regex(/^[\w.~+/-]+=*$/, 'use letters, digits and -._~+/ only')
    .optional()
    .describe(
      'Whoever asks for more than health has to send it, as `Authorization: Bearer ...`. Needed on an address that other machines can reach.',
    ),
  PGEMBEDDER_HTTP_OPEN: z
    .stringbool()
    .default(false)
    .describe('true: serve other machines without a token. For networks that keep strangers out.'),
  PGEMBEDDER_LOG_LEVEL: z
    .enum(['trace', 'debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe('The least level that is logged.'),
  PGEMBEDDER_THREADS: z.coerce
    .number()
    .int()
    .min(1)
    .optional()
    .describe('Threads that one run of the model uses. Default: one for each physical core.'),
  PGEMBEDDER_TOKEN_BUDGET: z.coerce
    .number()
    .int()
    .min(1)
    .default(1024)
    .describe(
      'Most tokens of one batch, padding included. 1,024 is the measured best for small models on a CPU.',
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

/** Checked settings; the keys are the names of the environment variables. */
export type Config = z.infer<typeof schema>;

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
    fallback: defaults[name] === undefined ? null : String(defaults[name]),
    meaning: field.description ?? '',
  }));
}
