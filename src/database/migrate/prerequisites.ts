import { sql, type Transaction } from 'kysely';
import { UserError } from '../../errors.ts';
import type { Database } from '../database.ts';
import { isTooOld, readPgvector } from '../pgvector.ts';
import type { Schema } from '../schema.ts';
import { OLDEST_POSTGRES, readServer } from '../server.ts';
import { saveApplied } from './applied-files.ts';
import { OBJECTS } from './mending.ts';
import { migrationFiles, readSql } from './sql-files.ts';
import { inLockedTransaction, run } from './transaction.ts';

/**
 * Sees to what migrations need: a server and a pgvector that are new enough, schema embedder, and its list of files.
 * @throws UserError where that cannot be had
 */
export async function prepare(database: Database): Promise<void> {
  const { versionNumber, standby } = await readServer(database);
  if (standby) {
    throw new UserError('the server is a standby, where nothing can be written', {
      hint: 'Give the address of the primary; what migrate does there comes here',
    });
  }
  if (versionNumber < OLDEST_POSTGRES) {
    throw new UserError(`PostgreSQL ${Math.floor(versionNumber / 10_000)} is too old`, {
      hint: 'pgembedder needs 14 or later.',
    });
  }
  await inLockedTransaction(database, ensurePgvector, false);
  await inLockedTransaction(database, async (transaction) => {
    await run(transaction, sql`create schema if not exists embedder`);
    await run(
      transaction,
      sql`create table if not exists embedder.applied_file (
        name text primary key, sha256 text not null, applied_at timestamptz not null default now())`,
    );
    await adopt(transaction);
  });
}

async function ensurePgvector(transaction: Transaction<Schema>): Promise<void> {
  const { installed, available } = await readPgvector(transaction);
  if (installed === null && available === null) {
    throw new UserError('pgvector is not installed on this server', {
      hint: 'Install its package on the machine that runs PostgreSQL (Debian: apt-get install postgresql-17-pgvector, with your major version), then run this again.',
    });
  }
  if (installed === null) {
    await run(
      transaction,
      sql`create extension vector`,
      'As a superuser, type in this database: create extension vector;',
    );
  } else if (isTooOld(installed)) {
    throw new UserError(`pgvector ${installed} is too old`, {
      hint: 'pgembedder needs 0.5 or later. Install it, then type: alter extension vector update;',
    });
  }
}

/** Where the tables are there but the list of applied files is lost, all migrations count as applied; comparing finds what is missing. */
async function adopt(transaction: Transaction<Schema>): Promise<void> {
  const { rows } = await sql<{ lost: boolean }>`
    select to_regclass('embedder.job') is not null and not exists (select from embedder.applied_file) as lost`.execute(
    transaction,
  );
  if (!rows[0]!.lost) return;
  for (const name of await migrationFiles()) await saveApplied(transaction, name, await readSql(name));
  await saveApplied(transaction, OBJECTS, 'lost');
}
