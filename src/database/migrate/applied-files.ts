import { sql } from 'kysely';
import { UserError } from '../../errors.ts';
import type { Database } from '../database.ts';
import { functionFiles, hashOf, migrationFiles, readSql } from './sql-files.ts';

/** The files that were run in this database, each with the hash of its text. */
export async function appliedFiles(database: Database): Promise<Map<string, string>> {
  const { rows } = await sql<{ name: string; sha256: string }>`
    select name, sha256 from embedder.applied_file`.execute(database);
  return new Map(rows.map((row) => [row.name, row.sha256]));
}

/** Notes that a file was run. */
export async function saveApplied(database: Database, name: string, text: string): Promise<void> {
  await sql`insert into embedder.applied_file (name, sha256) values (${name}, ${hashOf(text)})
    on conflict (name) do update set sha256 = excluded.sha256, applied_at = now()`.execute(database);
}

/** Takes files off the list that this version has no more; to an older worker the schema is then of another version. */
export async function forgetOtherFiles(database: Database, names: readonly string[]): Promise<void> {
  await sql`delete from embedder.applied_file where name like 'sql/%' and name <> all (${names})`.execute(
    database,
  );
}

/** Whether schema embedder is there, and every file was run as this version has it. */
export async function migrationState(database: Database): Promise<'none' | 'old' | 'current'> {
  const { rows } = await sql<{ found: boolean }>`
    select to_regclass('embedder.applied_file') is not null as found`.execute(database);
  if (!rows[0]?.found) return 'none';
  const applied = await appliedFiles(database);
  for (const name of [...(await migrationFiles()), ...(await functionFiles())]) {
    if (applied.get(name) !== hashOf(await readSql(name))) return 'old';
  }
  return 'current';
}

/** @throws UserError unless schema embedder is there as this version has it */
export async function requireSchema(database: Database): Promise<void> {
  const state = await migrationState(database);
  if (state === 'current') return;
  throw new UserError(
    state === 'none'
      ? 'this database has no schema embedder yet'
      : 'schema embedder of this database is of another version',
    { hint: 'Run: pgembedder migrate' },
  );
}
