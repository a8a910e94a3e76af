import { readFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import type { z } from 'zod';
import { messageOf, UserError } from '../errors.ts';
import { didYouMean } from '../nearest.ts';
import { type Endpoint, type EndpointSettings, endpointsFile, FIELDS } from './endpoint.ts';

/**
 * The endpoints that a file lists; paths in it are seen from its own folder.
 * @param path undefined: there is no file, and there are no endpoints
 * @throws UserError naming in one line all that is not right, also a key that is not there
 */
export function readEndpoints(path: string | undefined, environment = process.env): Endpoint[] {
  if (path === undefined) return [];
  const folder = dirname(resolve(path));
  const result = endpointsFile.safeParse(readJson(path));
  if (!result.success) {
    const problems = result.error.issues.map((issue) => problemOf(issue));
    throw new UserError(`${path} is not right: ${problems.join('; ')}`, {
      hint: `${meant(result.error.issues)}docs/endpoints.md says what it may hold`,
    });
  }
  return result.data.endpoints.map(({ key, ...settings }) => {
    const authorization = () => headerOf(settings.name, key, folder, environment);
    authorization();
    const models = settings.models.map((model) => ({
      ...model,
      tokenizer: model.tokenizer === undefined ? undefined : resolve(folder, model.tokenizer),
    }));
    return { ...settings, models, authorization };
  });
}

function readJson(path: string): unknown {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError(`PGEMBEDDER_ENDPOINTS: the file cannot be read: ${messageOf(error)}`);
  }
  try {
    return JSON.parse(text);
  } catch {
    // Not what JavaScript says: it quotes the file, and somebody may have put a key there.
    throw new UserError(`${path} is not JSON`, { hint: 'docs/endpoints.md has an example' });
  }
}

function problemOf({ path, message }: z.core.$ZodIssue): string {
  return path.length === 0 ? message : `${path.join('.')}: ${message}`;
}

/** What was meant by the first field that there is not. */
function meant(issues: readonly z.core.$ZodIssue[]): string {
  const unknown = issues.flatMap((issue) => (issue.code === 'unrecognized_keys' ? issue.keys : []))[0];
  return unknown === undefined ? '' : didYouMean(unknown, FIELDS);
}

function headerOf(
  name: string,
  key: EndpointSettings['key'],
  folder: string,
  environment: NodeJS.ProcessEnv,
): Record<string, string> {
  if (!key) return {};
  const secret = 'env' in key ? environment[key.env]?.trim() : readSecret(name, resolve(folder, key.file));
  const where = 'env' in key ? `the variable ${key.env}` : `the file ${key.file}`;
  if (!secret) {
    throw new UserError(`The key of endpoint '${name}' is missing: ${where} is empty or not there`);
  }
  if (!/^[\x21-\x7e]+$/.test(secret)) {
    throw new UserError(
      `The key of endpoint '${name}' is no key: ${where} holds more than one word of ASCII`,
    );
  }
  return key.header === undefined
    ? { authorization: `Bearer ${secret}` }
    : { [key.header.toLowerCase()]: secret };
}

function readSecret(name: string, path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch (error) {
    throw new UserError(`The key of endpoint '${name}' cannot be read: ${messageOf(error)}`);
  }
}
