import { sql } from 'kysely';
import type { Database } from './database.ts';

/** The role of a connection, and what it may do. */
export interface Role {
  readonly name: string;
  readonly database: string;
  readonly superuser: boolean;
  /** May create a schema in this database. */
  readonly creates: boolean;
  readonly hasVector: boolean;
  /** The owner of schema embedder, if it is there. */
  readonly owner: string | null;
  /** Is that owner, a member of it, or a superuser. */
  readonly runsMigrate: boolean;
}

export async function readRole(database: Database): Promise<Role> {
  const { rows } = await sql<Role>`
    select current_user as name, current_database() as database, r.rolsuper as superuser,
      has_database_privilege(current_database(), 'create') as creates,
      exists (select from pg_extension where extname = 'vector') as "hasVector",
      n.nspowner::regrole::text as owner, coalesce(pg_has_role(n.nspowner, 'MEMBER'), false) as "runsMigrate"
    from pg_roles r left join pg_namespace n on n.nspname = 'embedder' where r.rolname = current_user`.execute(
    database,
  );
  return rows[0]!;
}

/** Whether a worker can run as this role; and whether there is the role embedder_worker to be a member of. */
export async function readWorkerRights(database: Database): Promise<{ allowed: boolean; found: boolean }> {
  const { rows } = await sql<{ allowed: boolean; found: boolean }>`
    select has_table_privilege('embedder.worker_process', 'insert')
      and exists (select from pg_proc where pronamespace = 'embedder'::regnamespace and proname = 'claim_jobs'
        and has_function_privilege(oid, 'execute')) as allowed,
      exists (select from pg_roles where rolname = 'embedder_worker') as found`.execute(database);
  return rows[0]!;
}

/** A name as SQL writes it. */
export function quoteIdentifier(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}
