import type { Database } from '../../database/database.ts';
import { openListener } from '../../database/listener.ts';
import { isTooOld, readPgvector } from '../../database/pgvector.ts';
import { quoteIdentifier, type Role, readRole } from '../../database/roles.ts';
import { OLDEST_POSTGRES, readServer } from '../../database/server.ts';
import { addressOf } from '../errors.ts';
import type { OpenDatabase } from '../with-database.ts';
import { fail, ok, type Report, warn } from './check.ts';
import { checkRights, checkSchema, checkTextSearch } from './schema-checks.ts';
import { checkSettings } from './settings-checks.ts';

/** Server, pgvector, schema, rights and LISTEN. False: nothing that needs the schema can be checked. */
export async function checkDatabase({ database, connection }: OpenDatabase, add: Report): Promise<boolean> {
  const { role, database: name, version, versionNumber, standby } = await readServer(database);
  add(ok('database', `${name} at ${addressOf(connection)}, as ${role}${standby ? ', a standby' : ''}`));
  add(
    versionNumber < OLDEST_POSTGRES
      ? fail('PostgreSQL', version, 'pgembedder needs PostgreSQL 14 or later')
      : ok('PostgreSQL', version.split(' ')[0]!),
  );
  const asker = await readRole(database);
  await checkPgvector(database, asker, add);
  const migrated = await checkSchema(database, asker, add);
  if (migrated) {
    await checkRights(database, asker, add);
    // On a standby LISTEN is not possible, and no worker runs.
    if (!standby) await checkListen({ database, connection }, role, add);
    await checkTextSearch(database, add);
  }
  return migrated;
}

async function checkPgvector(database: Database, role: Role, add: Report): Promise<void> {
  const { installed, schema, available } = await readPgvector(database);
  if (installed) {
    const found = `${installed}, in schema ${schema}`;
    if (isTooOld(installed))
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
  { database, connection }: Omit<OpenDatabase, 'ended'>,
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
