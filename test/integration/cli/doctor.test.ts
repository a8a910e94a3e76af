import { stripVTControlCharacters } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { checkDatabase } from '../../../src/cli/doctor/database-checks.ts';
import { checkPipelines } from '../../../src/cli/doctor/pipeline-checks.ts';
import { formatCheck } from '../../../src/cli/doctor.ts';
import { openDatabase } from '../../../src/database/database.ts';
import { createMigratedDatabase, drain, type MigratedDatabase } from '../../support/pgembedder.ts';
import { createDatabase, createRole, type TestDatabase, type TestRole } from '../../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;
let worker: TestRole;
let stranger: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  [owner, worker, stranger] = [await createRole(), await createRole(), await createRole()];
  await database.query(`create schema app authorization ${owner.name}; grant embedder_worker to ${worker.name};
    create table app.doc (id int primary key, body text); alter table app.doc owner to ${owner.name};
    insert into app.doc values (1, 'a'); select embedder.create_pipeline('app.doc', 'body', index => 'none')`);
  await drain(database);
});
afterAll(async () => {
  await database.drop();
  for (const role of [owner, worker, stranger]) await role.drop();
});

/** What doctor says of the database, line by line, as `state name found -> advice`. */
async function doctor(url: string): Promise<string[]> {
  const kysely = openDatabase(url, 2);
  const said: string[] = [];
  const add = (check: Parameters<typeof formatCheck>[0]) =>
    void said.push(stripVTControlCharacters(formatCheck(check)).replace(/\s+/g, ' '));
  try {
    const session = { database: kysely, connection: url, ended: new Promise<never>(() => {}) };
    if (await checkDatabase(session, add)) await checkPipelines(session, add);
  } finally {
    await kysely.destroy();
  }
  return said;
}
const failed = async (url: string) => (await doctor(url)).filter((line) => line.startsWith('fail'));

describe('doctor finds nothing wrong', () => {
  it('for a superuser, and for a worker that has no right on the table', async () => {
    expect(await failed(database.url)).toEqual([]);
    const said = await doctor(database.urlAs(worker));
    expect(said.filter((line) => line.startsWith('fail'))).toEqual([]);
    expect(said).toContain('ok rights a worker can run as this role');
    expect(said.join('\n')).toMatch(/warn pipeline doc: app\.doc belongs to .* and not build its index/);
  });
});

describe('doctor gives advice that fits who asks', () => {
  it('where nothing is there yet', async () => {
    const empty: TestDatabase = await createDatabase();
    try {
      const grants = `grant create on database ${empty.name} to ${stranger.name};`;
      expect(await failed(empty.urlAs(stranger))).toEqual([
        expect.stringMatching(
          /^fail pgvector .* -> As a superuser, type in this database: create extension vector;$/,
        ),
        `fail schema there is no schema embedder yet -> As a superuser, type in this database: create extension vector; ${grants} Then run: pgembedder migrate`,
      ]);
      expect((await failed(empty.url)).map((line) => line.replace(/.* -> /, ''))).toEqual([
        'Run: pgembedder migrate',
        'Run: pgembedder migrate',
      ]);
    } finally {
      await empty.drop();
    }
  });

  it('where the schema is somebody else’s', async () => {
    const said = await doctor(database.urlAs(stranger));
    expect(said.join('\n')).toContain(
      `fail rights a worker cannot run as this role -> As a superuser, type: grant embedder_worker to ${stranger.name};`,
    );
    await database.query('drop function embedder.max_requests()');
    try {
      expect(await failed(database.urlAs(stranger))).toContain(
        'fail schema function max_requests() is missing -> As postgres or a superuser, run: pgembedder migrate',
      );
      expect(await failed(database.url)).toEqual([
        'fail schema function max_requests() is missing -> Run: pgembedder migrate',
      ]);
    } finally {
      await (await import('../../../src/database/migrate/migrate.ts')).migrate(database.kysely);
    }
  });
});

describe('doctor says', () => {
  it('whether a text really gets to the workers', async () => {
    const said = async (url: string) => (await doctor(url)).find((line) => line.includes(' dblink '));
    expect(await said(database.url)).toMatch(/^warn dblink is missing/);
    await database.query('create extension dblink');
    expect(await said(database.url)).toBe('ok dblink works: texts can be searched for in SQL');
    expect(await said(database.urlAs(stranger))).toMatch(
      /^warn dblink texts cannot be searched for in SQL: embed needs a second connection .* -> As a superuser: select \* from embedder\.grant_search/,
    );
  });

  it('what of a pipeline is missing, and that its triggers are switched off', async () => {
    await database.query(`alter table app.doc disable trigger embedder_1_inserted; drop view app.doc_with_embedding;
      create view app.doc_with_embedding as select 1 as one`);
    const said = await doctor(database.url);
    expect(said.join('\n')).toMatch(/warn pipeline doc: triggers of pgembedder on app\.doc are disabled/);
    expect(said).toContain(
      'warn pipeline doc has no view: app.doc_with_embedding is there already, and was not made for it -> When it is mended: pgembedder pipeline resume doc',
    );
    await database.query('drop trigger embedder_1_deleted on app.doc');
    expect(await failed(database.url)).toContain(
      'fail pipeline doc: app.doc has no trigger for delete -> Run: pgembedder migrate',
    );
  });

  it('whose triggers are left of a pipeline that is lost', async () => {
    await database.query('truncate embedder.declaration, embedder.pipeline cascade');
    expect(await failed(database.url)).toContain(
      'fail schema app.doc has triggers of a pipeline that is not there any more (number 1) -> Declare it again by embedder.create_pipeline, which takes its sidecar over, and remove these: select embedder.drop_functions(1);',
    );
  });
});
