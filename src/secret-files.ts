import { readFileSync } from 'node:fs';
import { messageOf, UserError } from './errors.ts';

/** Settings that hold a secret: each may come from a file instead, named by the variable with `_FILE` behind it. */
export const SECRETS = [
  'DATABASE_URL',
  'PGEMBEDDER_HTTP_TOKEN',
  'PGEMBEDDER_HTTP_TOKENS',
  'PGEMBEDDER_HUB_TOKEN',
] as const;

/**
 * The environment with each secret that is given as a file (`DATABASE_URL_FILE=/run/secrets/database_url`) in its
 * place, less the newlines at its end. Empty values count as not set.
 * @throws UserError when a secret is given both ways, or its file cannot be read or is empty
 */
export function withSecretFiles(environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const secrets: NodeJS.ProcessEnv = {};
  for (const name of SECRETS) {
    const file = environment[`${name}_FILE`];
    if (!file) continue;
    if (environment[name])
      throw new UserError(`${name} and ${name}_FILE are both set`, { hint: 'Set one of them' });
    secrets[name] = readSecret(`${name}_FILE`, file);
  }
  return { ...environment, ...secrets };
}

function readSecret(variable: string, file: string): string {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    throw new UserError(`${variable}: the file cannot be read: ${messageOf(error)}`, {
      hint: 'The user that pgembedder runs as has to see the file and may read it',
    });
  }
  const secret = text.replace(/[\r\n]+$/, '');
  if (secret === '') throw new UserError(`${variable}: the file ${file} is empty`);
  return secret;
}
