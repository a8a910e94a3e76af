import { hintOf } from '../database/errors.ts';
import { messageOf, UserError } from '../errors.ts';

/** An error as one line for a person, as it is kept with the row or the pipeline. */
export function describe(error: unknown): string {
  if (error instanceof UserError) return error.line;
  const hint = hintOf(error);
  return hint ? `${messageOf(error)}. ${hint}` : messageOf(error);
}
