import { sql, type Transaction } from 'kysely';
import type { Schema } from '../schema.ts';
import { appliedFiles, forgetOtherFiles, saveApplied } from './applied-files.ts';
import { mend, OBJECTS, recordObjects, startMending } from './mending.ts';
import { functionFiles, hashOf, migrationFiles, readSql } from './sql-files.ts';
import { asCaller, run } from './transaction.ts';

/** The file of sql/ that says who may call what. */
const RIGHTS = 'sql/rights/rights.sql';
/** The file of sql/ that is run as whoever has called migrate. */
const ROLES = 'sql/rights/roles.sql';

/** What became of functions and views: the files that had changed, and what `mend` has found. */
export interface AppliedFunctions {
  readonly functions: string[];
  readonly mended: string[];
  readonly other: string[];
}

/** Whether pgvector is a newer one than when the functions were made: then there are none with its newer types. */
async function lackTypes(transaction: Transaction<Schema>): Promise<boolean> {
  const { rows } = await sql<{ lacking: boolean }>`
    select to_regproc('embedder.embed_sparse') is null and exists (
      select from pg_extension e join pg_type t on t.typnamespace = e.extnamespace and t.typname = 'sparsevec'
      where e.extname = 'vector') as lacking`.execute(transaction);
  return rows[0]!.lacking;
}

/** Runs the files of sql/ that have changed; all of them, and what else it takes, when something of the schema is missing. */
export async function applyFunctions(transaction: Transaction<Schema>): Promise<AppliedFunctions> {
  const applied = await appliedFiles(transaction);
  const names = await functionFiles();
  const texts = new Map(await Promise.all(names.map(async (name) => [name, await readSql(name)] as const)));
  const changed = names.filter((name) => applied.get(name) !== hashOf(texts.get(name)!));
  // A function may call one of a later file; bodies are checked when they run.
  await run(transaction, sql`set local check_function_bodies = off`);
  await run(transaction, sql.raw(texts.get(OBJECTS)!));
  const lost = await startMending(
    transaction,
    names.some((name) => applied.has(name)),
  );
  const again = lost.length > 0 || (await lackTypes(transaction));
  if (changed.length === 0 && !again) return { functions: [], mended: [], other: [] };
  const rest = async () => {
    // The rights last and each time: a function that a file has made is everybody's until they say whose it is.
    const files = [...(again ? names : changed).filter((name) => name !== RIGHTS), RIGHTS];
    for (const name of files) {
      if (name === ROLES) await asCaller(transaction, texts.get(name)!);
      else await run(transaction, sql.raw(texts.get(name)!));
      await saveApplied(transaction, name, texts.get(name)!);
    }
    await forgetOtherFiles(transaction, names);
  };
  let found: { mended: string[]; other: string[] } = { mended: [], other: [] };
  if (lost.length > 0) {
    const migrations = await Promise.all((await migrationFiles()).map(readSql));
    found = await mend(transaction, lost, migrations, rest);
  } else {
    await rest();
    await recordObjects(transaction);
  }
  await run(transaction, sql`select pg_notify('embedder_job', 'pipeline')`);
  return { functions: changed, ...found };
}
