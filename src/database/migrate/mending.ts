import { sql, type Transaction } from 'kysely';
import type { Database } from '../database.ts';
import type { Schema } from '../schema.ts';

/** The file of sql/ that compares what there is with what there must be. */
export const OBJECTS = 'sql/operate/objects.sql';

/**
 * What of schema embedder is not as migrate has left it, one line each.
 * @param known whether migrate has run in this database before
 */
export async function startMending(transaction: Transaction<Schema>, known: boolean): Promise<string[]> {
  if (!known) return [];
  const { rows } = await sql<{ found: boolean }>`
    select to_regclass('embedder.applied_object') is not null as found`.execute(transaction);
  const recorded =
    rows[0]!.found &&
    (await sql`select from embedder.applied_object limit 1`.execute(transaction)).rows.length > 0;
  if (!recorded) return [NO_RECORD];
  return [...new Set([...(await missingRoles(transaction)), ...(await lostObjects(transaction))])];
}

/** Earlier versions kept no record: then everything is compared and made again, without a word about it. */
const NO_RECORD = 'there is no record of what migrate has made';

/** What of schema embedder is missing, or not as migrate has left it. */
export async function lostObjects(database: Database): Promise<string[]> {
  const { rows } = await sql<{ line: string }>`select embedder.lost_objects() as line`.execute(database);
  return rows.map(({ line }) => line);
}

/** Roles that are not there, and that the role which runs migrate could make. */
async function missingRoles(database: Database): Promise<string[]> {
  const { rows } = await sql<{ name: string }>`
    select name from embedder.missing_roles() name
    where (select rolsuper or rolcreaterole from pg_roles where rolname = session_user)`.execute(database);
  return rows.map(({ name }) => `role ${name} is missing`);
}

/** Writes down what there is now. */
export async function recordObjects(transaction: Transaction<Schema>): Promise<void> {
  await sql`select embedder.record_objects()`.execute(transaction);
}

/**
 * Makes again what is missing: tables and columns out of a schema that all migrations are run in, then the files of sql/,
 * then the declarations that are lost, then constraints and indexes, which need the rows.
 * @param applyFiles runs all files of sql/
 * @returns what was mended, and columns that somebody has changed
 */
export async function mend(
  transaction: Transaction<Schema>,
  lost: readonly string[],
  migrations: readonly string[],
  applyFiles: () => Promise<void>,
): Promise<{ mended: string[]; other: string[] }> {
  await sql`alter schema embedder rename to embedder_kept`.execute(transaction);
  await sql`create schema embedder`.execute(transaction);
  for (const text of migrations) await sql.raw(text).execute(transaction);
  await sql`alter schema embedder rename to embedder_fresh`.execute(transaction);
  await sql`alter schema embedder_kept rename to embedder`.execute(transaction);
  await sql`select embedder.mend_tables('embedder_fresh')`.execute(transaction);
  await applyFiles();
  const { rows } = await sql<{ line: string }>`select embedder.restore_declarations() as line`.execute(
    transaction,
  );
  await sql`select embedder.mend_constraints()`.execute(transaction);
  await sql`select embedder.record_objects()`.execute(transaction);
  const other = await sql<{ line: string }>`
    select embedder.note_other_columns() as line`.execute(transaction);
  await sql`set local client_min_messages = warning`.execute(transaction);
  await sql`drop schema embedder_fresh cascade`.execute(transaction);
  // Without the right to make roles they are still missing.
  const roles = await sql<{ line: string }>`
    select format('role %s is missing', r) as line from embedder.missing_roles() r`.execute(transaction);
  const lacking = new Set([NO_RECORD, ...roles.rows.map(({ line }) => line)]);
  return {
    mended: [...lost.filter((line) => !lacking.has(line)), ...rows.map(({ line }) => line)],
    other: other.rows.map(({ line }) => line),
  };
}
