import { readFileSync } from 'node:fs';
import { messageOf, UserError } from '../errors.ts';

/**
 * The JSON object in a file. Raises UserError when it cannot be read or holds something else; a file that is not
 * there counts as `missing`, if that is given.
 */
export function readObject(path: string, missing?: Record<string, unknown>): object {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    if (missing && error instanceof Error && 'code' in error && error.code === 'ENOENT') {
      return missing;
    }
    throw new UserError(`${path} cannot be read: ${messageOf(error)}`, {
      hint: 'Put the complete file there or fetch the model again',
      cause: error,
    });
  }
  if (typeof value !== 'object' || value === null) {
    throw new UserError(`${path} does not hold a JSON object`, {
      hint: 'Put the original file of the model there',
    });
  }
  return value;
}
