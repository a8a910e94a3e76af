import { sql } from 'kysely';
import type pg from 'pg';
import type { Database } from './database.ts';

/**
 * Settings that a role or a database may have for people, and that would harm a worker or a migration: they end statements
 * that take long, or change what a query means or how it is planned.
 */
const SETTINGS = [
  'statement_timeout',
  'lock_timeout',
  'idle_in_transaction_session_timeout',
  'idle_session_timeout',
  'transaction_timeout',
  'default_transaction_isolation',
  'default_transaction_read_only',
  'default_transaction_deferrable',
  'session_replication_role',
  'row_security',
  'plan_cache_mode',
  'array_nulls',
  'standard_conforming_strings',
  'transform_null_equals',
  'quote_all_identifiers',
];

/** Those of them that have another value than PostgreSQL's own in this session. */
const DEVIATING = `pg_settings s
  where s.setting is distinct from s.boot_val
    and (s.name in (${SETTINGS.map((name) => `'${name}'`).join()}) or s.name like 'enable\\_%')`;

/**
 * The statement that gives a session or a transaction PostgreSQL's own settings, as far as its role may set them. Not for a
 * session that a pooler lends to others as well. Settings that only superusers may change are left as they are for
 * everybody else, who seldom have any.
 */
export function settleStatement(scope: 'session' | 'transaction'): string {
  return `select set_config(s.name, s.boot_val, ${scope === 'transaction'}) from ${DEVIATING}
  and (s.context = 'user' or current_setting('is_superuser') = 'on')`;
}

/** Gives a connection's session PostgreSQL's own settings. @param statementMs the longest that one of its statements may take */
export async function settleClient(client: pg.ClientBase, statementMs?: number): Promise<void> {
  const limit = statementMs === undefined ? '' : `; set statement_timeout = ${statementMs}`;
  await client.query(settleStatement('session') + limit);
}

/** The same for a pool whose only connection is open. */
export async function settlePool(database: Database): Promise<void> {
  await sql.raw(settleStatement('session')).execute(database);
}

/** A setting of a role or database that would do harm. */
export interface DeviatingSetting {
  readonly name: string;
  readonly value: string;
}

/** The settings that would do harm in the sessions of this pool. */
export async function deviatingSettings(database: Database): Promise<DeviatingSetting[]> {
  const { rows } = await sql
    .raw<DeviatingSetting>(
      `select s.name, current_setting(s.name) as value from ${DEVIATING} order by s.name`,
    )
    .execute(database);
  return rows;
}
