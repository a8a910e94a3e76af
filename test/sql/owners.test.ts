import pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openDatabase } from '../../src/database/database.ts';
import { migrate } from '../../src/database/migrate/migrate.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  knownModels,
  type MigratedDatabase,
  workerOn,
} from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';
import { createDatabase, createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;
let other: TestRole;
let admin: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  [owner, other, admin] = (await Promise.all([createRole(), createRole(), createRole()])) as [
    TestRole,
    TestRole,
    TestRole,
  ];
  await database.query(
    `grant create on schema public to ${owner.name}, ${other.name}; grant embedder_admin to ${admin.name}`,
  );
});
afterAll(async () => {
  await database.drop();
  for (const role of [owner, other, admin]) await role.drop();
});

async function withRole<Result>(url: string, use: (client: pg.Client) => Promise<Result>): Promise<Result> {
  const client = new pg.Client(url);
  await client.connect();
  try {
    return await use(client);
  } finally {
    await client.end();
  }
}

it('an owner gives a priority within bounds, by whatever way, and an admin any', async () => {
  await withRole(database.urlAs(owner), async (client) => {
    await client.query(`create table doc (id int primary key, body text); insert into doc values (1, 'a');
      select embedder.create_pipeline('doc', 'body', index => 'none', priority => 100)`);
    for (const statement of [
      `select embedder.alter_pipeline('doc', priority => 101)`,
      `select embedder.create_pipeline('doc', 'body', name => 'more', priority => -101)`,
      'update embedder.pipeline set priority = 2147483647',
    ])
      await expect(client.query(statement), statement).rejects.toMatchObject({
        code: '22023',
        message: expect.stringMatching(/and the owner of a table gives -100 to 100$/),
      });
  });
  await withRole(database.urlAs(admin), (client) =>
    client.query(`select embedder.alter_pipeline('doc', priority => 1000)`),
  );
  // What the owner changes else leaves it.
  await withRole(database.urlAs(owner), (client) =>
    client.query(`select embedder.alter_pipeline('doc', max_attempts => 3)`),
  );
});

it('who could read a sidecar can read the one that takes its place at a cutover', async () => {
  const worker = () => workerOn(database, { embedder: new FakeEmbedder() });
  await worker().drain();
  await withRole(database.urlAs(owner), async (client) => {
    await client.query(
      `grant select on doc, doc_embedding to ${other.name} with grant option; select embedder.alter_pipeline('doc', input => '{body}!')`,
    );
  });
  await worker().drain();
  await withRole(database.urlAs(owner), (client) => client.query(`select embedder.cutover('doc')`));
  const { rows } = await database.query(
    `select has_table_privilege('${other.name}', 'doc_embedding', 'select with grant option') as reads, generation from embedder.status where pipeline = 'doc'`,
  );
  expect(rows).toEqual([{ reads: true, generation: 2 }]);
});

it('pipelines of two owners are made at once by a schema owner who is no superuser', async () => {
  const schemaOwner = await createRole();
  const own = await createDatabase({ vector: true });
  const kysely = openDatabase(own.urlAs(schemaOwner));
  try {
    await own.query(`grant create on database ${own.name} to ${schemaOwner.name};
      grant create on schema public to ${owner.name}, ${other.name}; grant ${owner.name}, ${other.name} to ${schemaOwner.name}`);
    await migrate(kysely, knownModels());
    const make = (table: string) =>
      `create table ${table} (id int primary key, body text); select embedder.create_pipeline('${table}', 'body')`;
    await withRole(own.urlAs(owner), (first) =>
      withRole(own.urlAs(other), async (second) => {
        await first.query(`begin; ${make('one')}`);
        const making = second.query(make('two'));
        await pollUntil(
          async () =>
            (
              await own.query(
                `select from pg_stat_activity where usename = '${other.name}' and wait_event_type = 'Lock'`,
              )
            ).rowCount === 1,
          { what: 'the second waiting' },
        );
        await first.query('commit');
        await making;
      }),
    );
    expect((await own.query('select from embedder.pipeline')).rowCount).toBe(2);
  } finally {
    await kysely.destroy();
    await own.drop();
    await schemaOwner.drop();
  }
});
