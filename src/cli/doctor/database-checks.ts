import { sql } from 'kysely';
import type { Database } from '../../database/database.ts';
import { codeOf } from '../../database/errors.ts';
import { openListener } from '../../database/listener.ts';
import { migrationState } from '../../database/migrator.ts';
import { messageOf } from '../../errors.ts';
import { addressOf } from '../errors.ts';
import type { Session } from '../session.ts';
import { fail, ok, type Report, warn } from './check.ts';
import { checkSettings } from './session-checks.ts';

/** Server, pgvector, schema, rights and LISTEN. False: nothing that needs the schema can be checked. */
export async function checkDatabase({ database, connection }: Session, add: Report): Promise<boolean> {
  const { rows } = await sql<{ role: string; name: string; version: string; number: number }>`
    select current_user as role, current_database() as name, current_setting('server_version') as version,
      current_setting('server_version_num')::int as number`.execute(database);
  const { role, name, version, number } = rows[0]!;
  add(ok('database', `${name} at ${addressOf(connection)}, as ${role}`));
  add(
    number < 140_000
      ? fail('PostgreSQL', version, 'pgembedder needs PostgreSQL 14 or later')
      : ok('PostgreSQL', version.split(' ')[0]!),
  );
  await checkPgvector(database, add);
  const migrated = await checkSchema(database, add);
  if (migrated) {
    await checkRights(database, role, add);
    await checkListen({ database, connection }, role, add);
    await checkDblink(database, add);
  }
  return migrated;
}

async function checkPgvector(database: Database, add: Report): Promise<void> {
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
      fail('pgvector', `${available} is on the server and not in this database`, 'Run: pgembedder migrate'),
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

async function checkSchema(database: Database, add: Report): Promise<boolean> {
  try {
    const state = await migrationState(database);
    if (state === 'current') add(ok('schema', 'embedder is as this version has it'));
    else if (state === 'old')
      add(fail('schema', 'embedder is of another version', 'Run: pgembedder migrate'));
    else add(fail('schema', 'there is no schema embedder yet', 'Run: pgembedder migrate'));
    return state === 'current';
  } catch (error) {
    if (codeOf(error) !== '42501') throw error;
    add(fail('schema', messageOf(error), 'Let its owner grant this role what a worker needs'));
    return false;
  }
}

async function checkRights(database: Database, role: string, add: Report): Promise<void> {
  const { rows } = await sql<{ allowed: boolean }>`
    select has_table_privilege('embedder.worker_process', 'insert')
      and has_function_privilege('embedder.claim_jobs(int, int[], int, interval)', 'execute') as allowed`.execute(
    database,
  );
  if (rows[0]!.allowed) add(ok('rights', 'a worker can run as this role'));
  else
    add(
      fail(
        'rights',
        'a worker cannot run as this role',
        `As a superuser, type: grant embedder_worker to ${quoteIdentifier(role)};`,
      ),
    );
}

/** What embedder.embed and embedder.search by text need beside a worker. */
async function checkDblink(database: Database, add: Report): Promise<void> {
  const { rows } = await sql<{ installed: boolean }>`
    select exists (select from pg_extension where extname = 'dblink') as installed`.execute(database);
  if (rows[0]!.installed) add(ok('dblink', 'is there: texts can be searched for in SQL'));
  else
    add(
      warn(
        'dblink',
        'is missing: embedder.search in SQL takes vectors only, no texts',
        'As a superuser, type in this database: create extension dblink;',
      ),
    );
}

function quoteIdentifier(name: string): string {
  return /^[a-z_][a-z0-9_]*$/.test(name) ? name : `"${name.replaceAll('"', '""')}"`;
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
