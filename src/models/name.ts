import { UserError } from '../errors.ts';

/** A folder name, or ORG/NAME. A name does not begin with a dot, so none leads out of the folder. */
const NAME_PATTERN = /^[\w-][\w.-]*(?:\/[\w-][\w.-]*)?$/;

export function isModelName(name: string): boolean {
  return NAME_PATTERN.test(name);
}

/** @throws UserError unless this can be a model's name */
export function requireModelName(name: string): void {
  if (isModelName(name)) return;
  throw new UserError(`'${name}' is not a model name`, {
    hint: 'Use a catalog name such as all-MiniLM-L6-v2, or ORG/NAME',
  });
}
