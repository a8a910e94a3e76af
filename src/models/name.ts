import { UserError } from '../errors.ts';

/** A folder name, or ORG/NAME. Dots may not lead, so that no name walks out of the folder. */
const namePattern = /^[\w-][\w.-]*(?:\/[\w-][\w.-]*)?$/;

export function isModelName(name: string): boolean {
  return namePattern.test(name);
}

/** Raises UserError unless this can be a model's name. */
export function requireModelName(name: string): void {
  if (isModelName(name)) return;
  throw new UserError(`'${name}' is not a model name`, {
    hint: 'Use a catalog name such as all-MiniLM-L6-v2, or ORG/NAME',
  });
}
