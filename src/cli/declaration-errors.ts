import { sql } from 'kysely';
import pg from 'pg';
import type { Database } from '../database/database.ts';
import { UNDEFINED_TABLE } from '../database/errors.ts';
import { UserError } from '../errors.ts';
import { nearestName } from '../nearest-name.ts';

/** An error of create_pipeline or alter_pipeline, for who has called it by the command line. */
export async function explainDeclaration(
  error: unknown,
  database: Database,
  source?: string,
): Promise<unknown> {
  if (!(error instanceof pg.DatabaseError)) return error;
  if (error.code === UNDEFINED_TABLE && source !== undefined) return noSuchTable(database, source, error);
  return new UserError(error.message, { hint: asFlags(error.hint ?? ''), cause: error });
}

/** Hints speak of SQL's named arguments; here these are flags: `index => 'none'` is `--index 'none'`. */
export function asFlags(hint: string): string {
  return hint.replace(/\b([a-z]+(?:_[a-z]+)*) => (true\b)?/g, (_, name: string, yes?: string) => {
    const flag = `--${name.replaceAll('_', '-')}`;
    return yes ? flag : `${flag} `;
  });
}

async function noSuchTable(database: Database, source: string, cause: Error): Promise<UserError> {
  const { rows } = await sql<{ name: string }>`
    select c.oid::regclass::text as name from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p') and n.nspname not in ('pg_catalog', 'information_schema', 'embedder')
      and n.nspname not like 'pg_toast%'
    order by 1`.execute(database);
  const names = rows.map(({ name }) => name);
  const near = nearestName(source, names);
  const hint =
    near === undefined
      ? `Tables here: ${names.slice(0, 20).join(', ') || 'none'}; one of another schema is written schema.table`
      : `Did you mean ${near}?`;
  return new UserError(`there is no table ${source}`, { hint, cause });
}
