import { setTimeout as wait } from 'node:timers/promises';
import { type RawBuilder, sql, type Transaction } from 'kysely';
import { codeOf, messageOf, UserError } from '../../errors.ts';
import type { Database } from '../database.ts';
import { INSUFFICIENT_PRIVILEGE, LOCK_NOT_AVAILABLE } from '../errors.ts';
import type { Schema } from '../schema.ts';
import { settleStatement } from '../sessions.ts';

// Any number, as long as it is always this one: the lock that keeps two migrators apart.
const LOCK = 7_306_372_118;
/** The longest wait for a lock before migrate lets go and begins again: writers queue up behind one that waits. */
const LOCK_TIMEOUT = '100ms';
const LOCK_PATIENCE_MS = 30_000;

/**
 * One transaction of migrate: one at a time in a database, with PostgreSQL's own settings, and as the owner of schema
 * embedder. It does not wait for a lock for more than a moment, but begins again.
 * @param asOwner false: as the role that has called migrate
 * @throws UserError when somebody keeps a table locked, or the role may not become the owner
 */
export function inLockedTransaction<Result>(
  database: Database,
  work: (transaction: Transaction<Schema>) => Promise<Result>,
  asOwner = true,
): Promise<Result> {
  // With PostgreSQL's own settings: those of the role are meant for people's statements, and could end or change these.
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

/** Runs a statement as whoever has called migrate, and goes on as the schema's owner. */
export async function asCaller(transaction: Transaction<Schema>, text: string): Promise<void> {
  const { rows } = await sql<{ role: string }>`select quote_ident(current_user) as role`.execute(transaction);
  await sql`reset role`.execute(transaction);
  await run(transaction, sql.raw(text));
  await sql.raw(`set local role ${rows[0]!.role}`).execute(transaction);
}

/** Runs a statement. @throws UserError with a hint, where the role lacks the right to */
export async function run(
  transaction: Transaction<Schema>,
  statement: RawBuilder<unknown>,
  hint = 'Run it as the owner of the database, or: grant create on database ... to ...;',
): Promise<void> {
  try {
    await statement.execute(transaction);
  } catch (error) {
    if (codeOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    throw new UserError(`migrate may not do that: ${messageOf(error)}`, { hint, cause: error });
  }
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

/** Tries again for half a minute while somebody has locked what it needs. */
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
