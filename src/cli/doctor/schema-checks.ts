import type { Database } from '../../database/database.ts';
import { INSUFFICIENT_PRIVILEGE } from '../../database/errors.ts';
import { migrationState } from '../../database/migrate/applied-files.ts';
import { lostObjects } from '../../database/migrate/mending.ts';
import { quoteIdentifier, type Role, readWorkerRights } from '../../database/roles.ts';
import { readServer } from '../../database/server.ts';
import { codeOf, messageOf } from '../../errors.ts';
import { findStrayTriggers } from '../../pipelines/inspection.ts';
import { hasDblink, tryEmbed } from '../../search/text-search.ts';
import { fail, ok, type Report, warn } from './check.ts';

/** The most differences that are told one by one. */
const TOLD = 12;

/** Whether schema embedder is there, of this version, and as migrate has left it. False: nothing that needs it can be checked. */
export async function checkSchema(database: Database, role: Role, add: Report): Promise<boolean> {
  try {
    const state = await migrationState(database);
    if (state === 'none') add(fail('schema', 'there is no schema embedder yet', firstAdvice(role)));
    else if (state === 'old') add(fail('schema', 'embedder is of another version', migrateAdvice(role)));
    else await checkObjects(database, role, add);
    return state === 'current';
  } catch (error) {
    if (codeOf(error) !== INSUFFICIENT_PRIVILEGE) throw error;
    add(fail('schema', messageOf(error), migrateAdvice(role)));
    return false;
  }
}

async function checkObjects(database: Database, role: Role, add: Report): Promise<void> {
  let lost: string[];
  try {
    lost = await lostObjects(database);
  } catch (error) {
    // The functions that compare are gone themselves.
    if (!/^(42|3F)/.test(codeOf(error))) throw error;
    lost = [messageOf(error)];
  }
  for (const line of lost.slice(0, TOLD)) add(fail('schema', line, migrateAdvice(role)));
  if (lost.length > TOLD)
    add(fail('schema', `and ${lost.length - TOLD} more are missing or different`, migrateAdvice(role)));
  if (lost.length === 0) add(ok('schema', 'embedder is as this version has it'));
  await checkStrayTriggers(database, role, add);
}

/** Only a role that sees all pipelines can tell whose triggers they are. */
async function checkStrayTriggers(database: Database, role: Role, add: Report): Promise<void> {
  if (!role.runsMigrate) return;
  for (const { source, pipelineId: id } of await findStrayTriggers(database)) {
    add(
      fail(
        'schema',
        `${source} has triggers of a pipeline that is not there any more (number ${id})`,
        `Declare it again by embedder.create_pipeline, which takes its sidecar over, and remove these: select embedder.drop_functions(${id});`,
      ),
    );
  }
}

/** How to make the schema: what this role can do, or what somebody else has to do first. */
function firstAdvice({ name, database, superuser, creates, hasVector }: Role): string {
  const needed = [
    ...(hasVector ? [] : ['create extension vector;']),
    ...(creates
      ? []
      : [`grant create on database ${quoteIdentifier(database)} to ${quoteIdentifier(name)};`]),
  ];
  if (superuser || needed.length === 0) return 'Run: pgembedder migrate';
  return `As a superuser, type in this database: ${needed.join(' ')} Then run: pgembedder migrate`;
}

function migrateAdvice({ owner, runsMigrate }: Role): string {
  return runsMigrate
    ? 'Run: pgembedder migrate'
    : `As ${owner ?? 'its owner'} or a superuser, run: pgembedder migrate`;
}

/** Whether a worker can run as this role. */
export async function checkRights(database: Database, role: Role, add: Report): Promise<void> {
  const { allowed, found } = await readWorkerRights(database);
  if (allowed) return add(ok('rights', 'a worker can run as this role'));
  const grant = `grant embedder_worker to ${quoteIdentifier(role.name)};`;
  add(
    fail(
      'rights',
      'a worker cannot run as this role',
      found
        ? `As a superuser, type: ${grant}`
        : `As a superuser, run pgembedder migrate, which makes the role embedder_worker, and type: ${grant}`,
    ),
  );
}

/** Whether embedder.embed, and so a search by text in SQL, gets through to the workers for this role; it tries the way up to the queue. */
export async function checkTextSearch(database: Database, add: Report): Promise<void> {
  const { standby } = await readServer(database);
  if (standby)
    return add(ok('dblink', 'on a standby embedder.search takes vectors, and texts that are in the cache'));
  if (!(await hasDblink(database))) {
    return add(
      warn(
        'dblink',
        'is missing: embedder.search in SQL takes vectors only, no texts',
        'As a superuser, type in this database: create extension dblink;',
      ),
    );
  }
  try {
    await tryEmbed(database, `pgembedder doctor ${Date.now()}`);
  } catch (error) {
    // No worker, or none that fast: but the text has come to the queue.
    if (!['55000', '58000'].includes(codeOf(error))) {
      const { hint } = error as { hint?: string };
      return add(
        warn(
          'dblink',
          `texts cannot be searched for in SQL: ${messageOf(error)}`,
          hint ?? 'See docs/search.md',
        ),
      );
    }
  }
  add(ok('dblink', 'works: texts can be searched for in SQL'));
}
