import { sql } from 'kysely';
import type { Database } from '../../database/database.ts';
import { openListener } from '../../database/listener.ts';
import { addressOf } from '../errors.ts';
import type { Session } from '../session.ts';
import { fail, ok, type Report, warn } from './check.ts';
import { quoteIdentifier, type Role, readRole } from './role.ts';
import { checkRights, checkSchema, checkTextSearch } from './schema-checks.ts';
import { checkSettings } from './session-checks.ts';

/** Server, pgvector, schema, rights and LISTEN. False: nothing that needs the schema can be checked. */
export async function checkDatabase({ database, connection }: Session, add: Report): Promise<boolean> {
  const { rows } = await sql<{
    role: string;
    name: string;
    version: string;
    number: number;
    standby: boolean;
  }>`
    select current_user as role, current_database() as name, current_setting('server_version') as version,
      current_setting('server_version_num')::int as number, pg_is_in_recovery() as standby`.execute(database);
  const { role, name, version, number, standby } = rows[0]!;
  add(ok('database', `${name} at ${addressOf(connection)}, as ${role}${standby ? ', a standby' : ''}`));
  add(
    number < 140_000
      ? fail('PostgreSQL', version, 'pgembedder needs PostgreSQL 14 or later')
      : ok('PostgreSQL', version.split(' ')[0]!),
  );
  const asker = await readRole(database);
  await checkPgvector(database, asker, add);
  const migrated = await checkSchema(database, asker, add);
  if (migrated) {
    await checkRights(database, asker, add);
    // On a standby nobody can LISTEN, and no worker runs.
    if (!standby) await checkListen({ database, connection }, role, add);
    await checkTextSearch(database, add);
  }
  return migrated;
}

async function checkPgvector(database: Database, role: Role, add: Report): Promise<void> {
  const { rows } = await sql<{ installed: string | null; schema: string | null; available: string | null }>`
    select e.extversion as installed, n.nspname as schema,
      (select default_version from pg_available_extensions where name = 'vector') as available
    from (values (1)) one left join pg_extension e on e.extname = 'vector'
    left join pg_namespace n on n.oid = e.extnamespace`.execute(database);
  const { installed, schema, available } = rows[0]!;
  if (installed) {
    const [major = 0, minor = 0] = installed.split('.').map(Number);
    const found = `${installed}, in schema ${schema}`;
    if (major === 0 && minor < 5)
      add(
        fail(
          'pgvector',
          found,
          'Install 0.5 or later on the server, then type: alter extension vector update;',
        ),
      );
    else add(ok('pgvector', found));
  } else if (available) {
    add(
      fail(
        'pgvector',
        `${available} is on the server and not in this database`,
        role.superuser
          ? 'Run: pgembedder migrate'
          : 'As a superuser, type in this database: create extension vector;',
      ),
    );
  } else {
    add(
      fail(
        'pgvector',
        'is not installed on the server',
        'Install its package on the machine that runs PostgreSQL (Debian: postgresql-17-pgvector, with your major version)',
      ),
    );
  }
}

async function checkListen(
  { database, connection }: Omit<Session, 'ended'>,
  role: string,
  add: Report,
): Promise<void> {
  const listener = await openListener(connection, database);
  if (listener) {
    await listener.close();
    add(ok('LISTEN', 'works: new rows wake the worker'));
  } else {
    add(
      warn(
        'LISTEN',
        'does not work here, a worker polls: up to 1 s until it sees a new row',
        'Connect past the pooler, or in its session mode',
      ),
    );
    await checkSettings(database, quoteIdentifier(role), add);
  }
}
