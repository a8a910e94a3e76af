import { readFileSync, statSync } from 'node:fs';
import { messageOf, UserError } from '../errors.ts';

/**
 * Most bytes of a model's JSON file that are read: it is parsed in one piece, in the process that does everything else.
 * The largest tokenizers in use, of 262,144 tokens, have 35 MB.
 */
const MAX_BYTES = 128 * 1024 * 1024;

/**
 * What a JSON file of a model holds; undefined when there is no such file.
 * @throws UserError when it cannot be read, is too large, is not an ordinary file (a pipe would never end), or is not JSON
 */
export function readJsonFile(path: string): unknown {
  try {
    const file = statSync(path, { throwIfNoEntry: false });
    if (!file) {
      return undefined;
    }
    if (!file.isFile()) {
      throw new Error('it is no ordinary file');
    }
    if (file.size > MAX_BYTES) {
      throw new Error(`it has ${file.size} bytes, and at most ${MAX_BYTES} are read`);
    }
    return JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new UserError(`${path} cannot be read: ${messageOf(error)}`, {
      hint: 'Put the complete file there or fetch the model again',
      cause: error,
    });
  }
}
