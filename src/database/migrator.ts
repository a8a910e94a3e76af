import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { type RawBuilder, sql, type Transaction } from 'kysely';
import { messageOf, UserError } from '../errors.ts';
import { packageRoot } from '../package-root.ts';
import type { Database } from './database.ts';
import { codeOf } from './errors.ts';
import { mend, OBJECTS, recordObjects, startMending } from './mending.ts';
import type { Schema } from './schema.ts';
import { settleStatement } from './sessions.ts';

/** What `migrate` did: names of the files it applied, empty when everything was up to date. */
export interface MigrationResult {
  migrations: string[];
  functions: string[];
  /** What was missing or different and is as it must be again, one line each. */
  mended: string[];
  /** Columns that somebody has made other ones than they must be, one line each: that is for a person to mend. */
  other: string[];
  /** Pipelines whose own functions could not be made again, and why; workers try it again. */
  failed: { pipeline: string; problem: string }[];
}

/** A model that the catalog knows, as the table embedder.model holds it. */
export interface KnownModel {
  name: string;
  task: string;
  dimensions: number | null;
  max_tokens: number | null;
}

// Any number, as long as it is always this one: the lock that keeps two migrators apart.
const LOCK = 7_306_372_118;
/** The file of sql/ that says who may call what. */
const RIGHTS = 'sql/90_rights.sql';
/** The file of sql/ that is run as whoever has called migrate. */
const ROLES = 'sql/89_roles.sql';
/** SQLSTATE of a wait for a lock that took too long. */
const LOCK_NOT_AVAILABLE = '55P03';
/** A lock is waited for so long, and then tried again: whoever comes meanwhile stands behind it. */
const LOCK_TIMEOUT = '100ms';
const LOCK_PATIENCE_MS = 30_000;
const OLDEST_PGVECTOR = [0, 5];
const OLDEST_POSTGRES = 140_000;

/**
 * Brings schema `embedder` up to date: each new file of migrations/ in a transaction of its own, then the files of
 * sql/ that have changed, in one. Safe to run twice and by several processes at once: an advisory lock lets one work
 * at a time, and the next finds nothing to do. Pipelines get their functions made again when sql/ has changed, each in a
 * transaction of its own. What of the schema is missing or was changed is made again. No writer waits behind it for more than a moment.
 * @throws UserError when PostgreSQL or pgvector is missing or too old, a right is missing, or somebody keeps a table locked.
 */
export async function migrate(database: Database, models: KnownModel[] = []): Promise<MigrationResult> {
  const migrations: string[] = [];
  await prepare(database);
  for (const name of await sqlFiles('migrations')) {
    const applied = await inLockedTransaction(database, (transaction) => applyMigration(transaction, name));
    if (applied) migrations.push(name);
  }
  const { functions, mended, other } = await inLockedTransaction(database, async (transaction) => {
    const done = await applyFunctions(transaction);
    await saveModels(transaction, models);
    return done;
  });
  const failed = await followPipelines(database, mended, migrations.length > 0);
  return { migrations, functions, mended, other, failed };
}

/** The number of the newest migration applied to this database, and whether sql/ is as this version has it. */
export async function migrationState(database: Database): Promise<'none' | 'old' | 'current'> {
  const known = await sql<{
    found: boolean;
  }>`select to_regclass('embedder.applied_file') is not null as found`.execute(database);
  if (!known.rows[0]?.found) return 'none';
  const applied = await appliedFiles(database);
  for (const folder of ['migrations', 'sql']) {
    for (const name of await sqlFiles(folder)) {
      if (applied.get(name) !== hash(await readSql(name))) return 'old';
    }
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

async function prepare(database: Database): Promise<void> {
  const { rows } = await sql<{
    version: number;
    standby: boolean;
  }>`select current_setting('server_version_num')::int as version, pg_is_in_recovery() as standby`.execute(
    database,
  );
  const { version, standby } = rows[0]!;
  if (standby) {
    throw new UserError('the server is a standby, where nothing can be written', {
      hint: 'Give the address of the primary; what migrate does there comes here',
    });
  }
  if (version < OLDEST_POSTGRES) {
    throw new UserError(`PostgreSQL ${Math.floor(version / 10_000)} is too old`, {
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

/** Where the list of files is lost and the tables are there, they count as made: what they lack is found by comparing. */
async function adopt(transaction: Transaction<Schema>): Promise<void> {
  const { rows } = await sql<{ lost: boolean }>`
    select to_regclass('embedder.job') is not null and not exists (select from embedder.applied_file) as lost`.execute(
    transaction,
  );
  if (!rows[0]!.lost) return;
  for (const name of await sqlFiles('migrations')) await saveApplied(transaction, name, await readSql(name));
  await saveApplied(transaction, OBJECTS, 'lost');
}

async function ensurePgvector(transaction: Transaction<Schema>): Promise<void> {
  const { rows } = await sql<{ installed: string | null; available: boolean }>`
    select (select extversion from pg_extension where extname = 'vector') as installed,
      exists (select from pg_available_extensions where name = 'vector') as available`.execute(transaction);
  const { installed = null, available = false } = rows[0] ?? {};
  if (!installed && !available) {
    throw new UserError('pgvector is not installed on this server', {
      hint: 'Install its package on the machine that runs PostgreSQL (Debian: apt-get install postgresql-17-pgvector, with your major version), then run this again.',
    });
  }
  if (!installed) {
    await run(
      transaction,
      sql`create extension vector`,
      'As a superuser, type in this database: create extension vector;',
    );
    return;
  }
  const [major = 0, minor = 0] = installed.split('.').map(Number);
  if (major < OLDEST_PGVECTOR[0]! || (major === OLDEST_PGVECTOR[0] && minor < OLDEST_PGVECTOR[1]!)) {
    throw new UserError(`pgvector ${installed} is too old`, {
      hint: 'pgembedder needs 0.5 or later. Install it, then type: alter extension vector update;',
    });
  }
}

async function applyMigration(transaction: Transaction<Schema>, name: string): Promise<boolean> {
  if ((await appliedFiles(transaction)).has(name)) return false;
  const text = await readSql(name);
  await run(transaction, sql.raw(text));
  await saveApplied(transaction, name, text);
  return true;
}

async function applyFunctions(
  transaction: Transaction<Schema>,
): Promise<{ functions: string[]; mended: string[]; other: string[] }> {
  const applied = await appliedFiles(transaction);
  const names = await sqlFiles('sql');
  const texts = new Map(await Promise.all(names.map(async (name) => [name, await readSql(name)] as const)));
  const changed = names.filter((name) => applied.get(name) !== hash(texts.get(name)!));
  // A function may call one of a later file; bodies are checked when they run.
  await run(transaction, sql`set local check_function_bodies = off`);
  await run(transaction, sql.raw(texts.get(OBJECTS)!));
  const lost = await startMending(
    transaction,
    names.some((name) => applied.has(name)),
  );
  if (changed.length === 0 && lost.length === 0) return { functions: [], mended: [], other: [] };
  const rest = async () => {
    // The rights last and each time: a function that a file has made is everybody's until they say whose it is.
    const files = [...(lost.length > 0 ? names : changed).filter((name) => name !== RIGHTS), RIGHTS];
    for (const name of files) {
      if (name === ROLES) await asCaller(transaction, texts.get(name)!);
      else await run(transaction, sql.raw(texts.get(name)!));
      await saveApplied(transaction, name, texts.get(name)!);
    }
  };
  let done: { mended: string[]; other: string[] } = { mended: [], other: [] };
  if (lost.length > 0) {
    done = await mend(transaction, lost, await readAll(await sqlFiles('migrations')), rest);
  } else {
    await rest();
    await recordObjects(transaction);
  }
  await run(transaction, sql`select pg_notify('embedder_job', 'pipeline')`);
  return { functions: changed, ...done };
}

/** Runs a statement as whoever has called migrate, and goes on as the schema's owner. */
async function asCaller(transaction: Transaction<Schema>, text: string): Promise<void> {
  const { rows } = await sql<{ role: string }>`select quote_ident(current_user) as role`.execute(transaction);
  await sql`reset role`.execute(transaction);
  await run(transaction, sql.raw(text));
  await sql.raw(`set local role ${rows[0]!.role}`).execute(transaction);
}

async function saveModels(transaction: Transaction<Schema>, models: KnownModel[]): Promise<void> {
  if (models.length === 0) return;
  await transaction
    .insertInto('embedder.model')
    .values(models)
    .onConflict((conflict) =>
      conflict.column('name').doUpdateSet((row) => ({
        task: row.ref('excluded.task'),
        dimensions: row.ref('excluded.dimensions'),
        max_tokens: row.ref('excluded.max_tokens'),
      })),
    )
    .execute();
}

/**
 * Makes the functions of the pipelines that were made from other files of sql/.
 * @param upgraded a new migration was applied, which may have dropped functions to be made anew: their lack is nothing that was mended
 */
async function followPipelines(
  database: Database,
  mended: string[],
  upgraded: boolean,
): Promise<MigrationResult['failed']> {
  const failed: MigrationResult['failed'] = [];
  const { rows } = await sql<{ id: number; name: string; gaps: string[]; lost: boolean }>`
    select p.id, p.name, g.gaps, g.lost from embedder.pipeline p
    cross join lateral (select coalesce(array_agg(g), '{}') as gaps, coalesce(bool_or(g like '%has no trigger%'), false) as lost from embedder.pipeline_gaps(p) g) g
    where exists (select from pg_class where oid = p.source)
      and (g.gaps <> '{}' or p.id in (select embedder.changed_pipelines())) order by p.id`.execute(database);
  for (const { id, name, gaps, lost } of rows) {
    try {
      const problem = await followPipeline(database, id);
      if (problem) failed.push({ pipeline: name, problem });
      else if (gaps.length > 0) {
        if (lost || !upgraded) mended.push(...gaps.map((gap) => `pipeline ${name}: ${gap}`));
        if (lost) mended.push(await findMissed(database, id, name));
      }
    } catch (error) {
      failed.push({ pipeline: name, problem: messageOf(error) });
    }
  }
  return failed;
}

/** Rows that were written while a trigger was missing. */
async function findMissed(database: Database, id: number, name: string): Promise<string> {
  await sql`select embedder.start_backfill(p, stale => true) from embedder.pipeline p where id = ${id}`.execute(
    database,
  );
  return `pipeline ${name}: rows that were written without its triggers are looked for`;
}

async function followPipeline(database: Database, id: number): Promise<string | null> {
  const { rows } = await sql<{ problem: string | null }>`
    select problem from embedder.follow_tables(${id})`.execute(database);
  if (rows[0]) {
    if (rows[0].problem)
      await sql`select embedder.set_pipeline_error(${id}, ${rows[0].problem})`.execute(database);
    return rows[0].problem;
  }
  const busy = await sql`select from embedder.changed_pipelines() c where c = ${id}`.execute(database);
  return busy.rows.length > 0 ? 'somebody has a transaction open on its table, or is changing it' : null;
}

function inLockedTransaction<Result>(
  database: Database,
  work: (transaction: Transaction<Schema>) => Promise<Result>,
  asOwner = true,
): Promise<Result> {
  // As PostgreSQL has it, whatever the role's own settings are: what they would end or change is not a person's statement.
  return afterLocks(() =>
    database
      .transaction()
      .setIsolationLevel('read committed')
      .setAccessMode('read write')
      .execute(async (transaction) => {
        await sql.raw(settleStatement('transaction')).execute(transaction);
        await sql`select pg_advisory_xact_lock(${LOCK})`.execute(transaction);
        await sql.raw(`set local lock_timeout = '${LOCK_TIMEOUT}'`).execute(transaction);
        if (asOwner) await becomeOwner(transaction);
        return work(transaction);
      }),
  );
}

/**
 * Works as the owner of schema embedder, whoever has called migrate: what a superuser makes would be the superuser's, and
 * run with a superuser's rights.
 */
async function becomeOwner(transaction: Transaction<Schema>): Promise<void> {
  const { rows } = await sql<{ owner: string; may: boolean }>`
    select quote_ident(r.rolname) as owner,
      pg_has_role(r.oid, case when current_setting('server_version_num')::int < 160000 then 'MEMBER' else 'SET' end) as may
    from pg_namespace n join pg_roles r on r.oid = n.nspowner
    where n.nspname = 'embedder' and r.rolname <> current_user`.execute(transaction);
  const [other] = rows;
  if (!other) return;
  if (!other.may) {
    throw new UserError(`schema embedder belongs to ${other.owner}, and this role is no member of it`, {
      hint: `Run migrate as ${other.owner} or as a superuser`,
    });
  }
  await sql.raw(`set local role ${other.owner}`).execute(transaction);
}

/** Does it again for a while when somebody has locked what it needs. */
async function afterLocks<Result>(work: () => Promise<Result>): Promise<Result> {
  const end = performance.now() + LOCK_PATIENCE_MS;
  for (;;) {
    try {
      return await work();
    } catch (error) {
      if (codeOf(error) !== LOCK_NOT_AVAILABLE) throw error;
      if (performance.now() > end) {
        throw new UserError(`migrate has to change a table that is in use: ${messageOf(error)}`, {
          hint: "A transaction is open on it: select pid, state, query from pg_stat_activity where state like 'idle in%'. End it, then run this again.",
          cause: error,
        });
      }
      await wait(100 + 400 * Math.random());
    }
  }
}

async function run(
  transaction: Transaction<Schema>,
  statement: RawBuilder<unknown>,
  hint?: string,
): Promise<void> {
  try {
    await statement.execute(transaction);
  } catch (error) {
    // 42501: insufficient_privilege
    if (codeOf(error) !== '42501') throw error;
    throw new UserError(`migrate may not do that: ${(error as Error).message}`, {
      hint: hint ?? 'Run it as the owner of the database, or: grant create on database ... to ...;',
      cause: error,
    });
  }
}

async function appliedFiles(database: Database): Promise<Map<string, string>> {
  const { rows } = await sql<{
    name: string;
    sha256: string;
  }>`select name, sha256 from embedder.applied_file`.execute(database);
  return new Map(rows.map((row) => [row.name, row.sha256]));
}

async function saveApplied(transaction: Transaction<Schema>, name: string, text: string): Promise<void> {
  await sql`insert into embedder.applied_file (name, sha256) values (${name}, ${hash(text)})
    on conflict (name) do update set sha256 = excluded.sha256, applied_at = now()`.execute(transaction);
}

/** The .sql files of a folder of the package, as `folder/file.sql`, in their order. */
async function sqlFiles(folder: string): Promise<string[]> {
  const files = await readdir(join(packageRoot, folder));
  return files
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file) => `${folder}/${file}`);
}

function readAll(names: readonly string[]): Promise<string[]> {
  return Promise.all(names.map(readSql));
}

function readSql(name: string): Promise<string> {
  return readFile(join(packageRoot, name), 'utf8');
}

function hash(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
