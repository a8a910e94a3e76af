import { sql } from 'kysely';
import type { Database } from './database.ts';

/** pgvector in this database and on its server. */
export interface Pgvector {
  /** The version in this database; null when the extension is not created here. */
  readonly installed: string | null;
  /** The schema that it is in. */
  readonly schema: string | null;
  /** The version that `create extension` would take; null when the server has none. */
  readonly available: string | null;
}

export async function readPgvector(database: Database): Promise<Pgvector> {
  const { rows } = await sql<Pgvector>`
    select e.extversion as installed, n.nspname as schema,
      (select default_version from pg_available_extensions where name = 'vector') as available
    from (values (1)) one left join pg_extension e on e.extname = 'vector'
    left join pg_namespace n on n.oid = e.extnamespace`.execute(database);
  return rows[0]!;
}

/** Whether a version is one that pgembedder does not work with: it needs 0.5 or later. */
export function isTooOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split('.').map(Number);
  return major === 0 && minor < 5;
}

/** The oid of pgvector's type in this database; null when the extension is not there. */
export async function findVectorOid(database: Database): Promise<number | null> {
  const { rows } = await sql<{ oid: number }>`
    select t.oid::int8 as oid from pg_type t
    join pg_extension e on e.extname = 'vector' and e.extnamespace = t.typnamespace
    where t.typname = 'vector'`.execute(database);
  return rows[0]?.oid ?? null;
}
