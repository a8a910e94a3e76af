import { sql } from 'kysely';
import type { Database } from './database.ts';

/**
 * Runs a statement with a comment in it, by which `cancelMarked` finds it. The number of its session would not do: a pooler
 * in transaction mode gives each statement another session.
 */
export async function runMarked(database: Database, mark: string, statement: string): Promise<void> {
  await sql.raw(`/* ${mark} */ ${statement}`).execute(database);
}

/** Has PostgreSQL cancel the running statements that carry a mark. */
export async function cancelMarked(database: Database, mark: string): Promise<void> {
  await sql`select pg_cancel_backend(pid) from pg_stat_activity
    where state = 'active' and strpos(query, ${mark}) > 0`.execute(database);
}
