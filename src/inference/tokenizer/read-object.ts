import { UserError } from '../../errors.ts';
import { readJsonFile } from '../../model-files/json-file.ts';

/**
 * The JSON object in a file; a file that does not exist counts as `missing`, if that is given.
 * @throws UserError when it cannot be read or holds something else
 */
export function readObject(path: string, missing?: Record<string, unknown>): object {
  const value = readJsonFile(path) ?? missing;
  if (value === undefined) {
    throw new UserError(`${path} cannot be read: there is no such file`, {
      hint: 'Put the complete file there or fetch the model again',
    });
  }
  if (typeof value !== 'object' || value === null) {
    throw new UserError(`${path} does not hold a JSON object`, {
      hint: 'Put the original file of the model there',
    });
  }
  return value;
}
