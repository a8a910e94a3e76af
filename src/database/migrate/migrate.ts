import { sql, type Transaction } from 'kysely';
import type { Database } from '../database.ts';
import { type NewModel, saveModels } from '../models.ts';
import type { Schema } from '../schema.ts';
import { appliedFiles, saveApplied } from './applied-files.ts';
import { type FailedPipeline, followPipelines } from './follow-pipelines.ts';
import { applyFunctions } from './functions.ts';
import { prepare } from './prerequisites.ts';
import { migrationFiles, readSql } from './sql-files.ts';
import { inLockedTransaction, run } from './transaction.ts';

/** What `migrate` did: names of the files it applied, empty when everything was up to date. */
export interface MigrationResult {
  migrations: string[];
  functions: string[];
  /** What was missing or changed and has been put right, one line each. */
  mended: string[];
  /** Columns that somebody has changed, one line each: a person has to mend them. */
  other: string[];
  /** Pipelines whose own functions could not be made again, and why; workers try it again. */
  failed: FailedPipeline[];
}

/**
 * Brings schema `embedder` up to date: each new file of migrations/ in a transaction of its own, then the files of
 * sql/ that have changed, in one. Safe to run twice and by several processes at once: an advisory lock lets one work
 * at a time, and the next finds nothing to do. Pipelines get their functions made again when sql/ has changed, each in a
 * transaction of its own. Whatever is missing from the schema or was changed is made again. No writer waits for
 * it for more than a moment.
 * @throws UserError when PostgreSQL or pgvector is missing or too old, a right is missing, or somebody keeps a table locked.
 */
export async function migrate(
  database: Database,
  models: readonly NewModel[] = [],
): Promise<MigrationResult> {
  const migrations: string[] = [];
  await prepare(database);
  for (const name of await migrationFiles()) {
    const applied = await inLockedTransaction(database, (transaction) => applyMigration(transaction, name));
    if (applied) migrations.push(name);
  }
  const { functions, mended, other } = await inLockedTransaction(database, async (transaction) => {
    const done = await applyFunctions(transaction);
    await saveModels(transaction, models);
    return done;
  });
  const followed = await followPipelines(database, migrations.length > 0);
  return { migrations, functions, mended: [...mended, ...followed.mended], other, failed: followed.failed };
}

async function applyMigration(transaction: Transaction<Schema>, name: string): Promise<boolean> {
  if ((await appliedFiles(transaction)).has(name)) return false;
  const text = await readSql(name);
  await run(transaction, sql.raw(text));
  await saveApplied(transaction, name, text);
  return true;
}
