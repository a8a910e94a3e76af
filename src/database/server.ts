import { sql } from 'kysely';
import type { Database } from './database.ts';

/** The oldest PostgreSQL that pgembedder works with, as server_version_num has it. */
export const OLDEST_POSTGRES = 140_000;

/** The server, and the role and database of this connection. */
export interface Server {
  readonly role: string;
  readonly database: string;
  /** As PostgreSQL writes it: `15.4 (Debian 15.4-1)`. */
  readonly version: string;
  /** As a number that can be compared: 150004. */
  readonly versionNumber: number;
  readonly standby: boolean;
}

export async function readServer(database: Database): Promise<Server> {
  const { rows } = await sql<Server>`
    select current_user as role, current_database() as database, current_setting('server_version') as version,
      current_setting('server_version_num')::int as "versionNumber", pg_is_in_recovery() as standby`.execute(
    database,
  );
  return rows[0]!;
}

/** Whether the server takes prepared transactions (two-phase commit), in which no NOTIFY is allowed. */
export async function takesPreparedTransactions(database: Database): Promise<boolean> {
  const { rows } = await sql<{ takes: boolean }>`
    select current_setting('max_prepared_transactions') <> '0' as takes`.execute(database);
  return rows[0]!.takes;
}
