import pg from 'pg';
import { UserError } from '../errors.ts';

/** An error of create_pipeline or alter_pipeline, for the user of the command line. */
export function explainDeclaration(error: unknown): unknown {
  if (!(error instanceof pg.DatabaseError)) return error;
  return new UserError(error.message, { hint: asFlags(error.hint ?? ''), cause: error });
}

/** Hints speak of SQL's named arguments; here these are flags: `index => 'none'` is `--index 'none'`. */
export function asFlags(hint: string): string {
  return hint.replace(/\b([a-z]+(?:_[a-z]+)*) => (true\b)?/g, (_, name: string, yes?: string) => {
    const flag = `--${name.replaceAll('_', '-')}`;
    return yes ? flag : `${flag} `;
  });
}
