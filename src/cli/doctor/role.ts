import { sql } from 'kysely';
import type { Database } from '../../database/database.ts';

/** Who asks, and what advice fits. */
export interface Role {
  name: string;
  database: string;
  superuser: boolean;
  /** May create a schema in this database. */
  creates: boolean;
  hasVector: boolean;
  /** The owner of schema embedder, if it is there. */
  owner: string | null;
  /** Is that owner, a member of it, or a superuser. */
  runsMigrate: boolean;
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

export function quoteIdentifier(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
}
