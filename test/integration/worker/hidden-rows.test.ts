import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  fakeVector,
  type MigratedDatabase,
  makeDue,
  readVectors,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { createRole, type TestRole } from '../../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  owner = await createRole();
  await database.query(`create schema app authorization ${owner.name}`);
  await asOwner(`create table app.doc (id int primary key, tenant text, body text);
    insert into app.doc values (1, 'a', 'text 1'), (2, 'b', 'text 2');
    select embedder.create_pipeline('app.doc', 'body', index => 'none')`);
  await drain(database);
});
afterEach(async () => {
  await database.query(`delete from embedder.pipeline; drop schema app cascade; drop owned by ${owner.name}`);
  await owner.drop();
});

/** On a connection of its own: one that a statement leaves in error keeps its role. */
async function asOwner(statements: string): Promise<void> {
  const client = await database.pool.connect();
  try {
    await client.query(`set role ${owner.name}`);
    await client.query(statements);
  } finally {
    await client.query('reset role');
    client.release();
  }
}

const policy = `create policy tenant on app.doc using (tenant = current_setting('app.tenant', true));
  alter table app.doc enable row level security`;

const allThere = async (body1: string) =>
  expect(
    wrongKeys(
      await readVectors(database, 'select id, embedding from app.doc_embedding'),
      new Map([
        ['1', fakeVector(body1)],
        ['2', fakeVector('text 2')],
      ]),
    ),
  ).toEqual([]);
const status = async () =>
  (await database.query('select state, error, source_rows::int, embedded_rows::int from embedder.status'))
    .rows[0];
const refused = {
  state: 'error',
  error: expect.stringMatching(/row level security of app\.doc\S* binds its owner/),
};

/** What a worker calls, with the functions of before: nobody has noticed anything yet. */
const calls = [
  `embedder.pipeline_ID_read('{1}', 100)`,
  `embedder.pipeline_ID_next(null, null, null, false, 10)`,
  `embedder.pipeline_ID_next(null, null, null, false, 10, '{1}', true)`,
  `embedder.pipeline_ID_count()`,
  `embedder.pipeline_ID_recount()`,
  `embedder.pipeline_ID_complete('{1}', '{0}', 'all-MiniLM-L6-v2', '{null}', array[null]::vector[])`,
];

describe.each([
  [
    'the source',
    `${policy}; alter table app.doc force row level security`,
    'alter table app.doc no force row level security',
  ],
  [
    'the sidecar',
    `alter table app.doc_embedding enable row level security, force row level security`,
    `alter table app.doc_embedding no force row level security, disable row level security`,
  ],
])('forced row level security of %s', (_, force, unforce) => {
  it('takes no vector away, says so, and all goes on when it is gone', async () => {
    await asOwner(force);
    const { rows } = await database.query<{ id: number }>('select id from embedder.pipeline');
    for (const call of calls)
      await expect(
        database.query(`select ${call.replace('ID', String(rows[0]!.id))}`),
        call,
      ).rejects.toMatchObject({ code: '42501', message: expect.stringMatching(/binds its owner/) });
    await allThere('text 1');

    await database.query(
      `set app.tenant = 'a'; update app.doc set body = 'new' where id = 1; reset app.tenant`,
    );
    const embedder = new FakeEmbedder();
    await drain(database, { embedder });
    expect(embedder.calls).toEqual([]);
    await allThere('text 1');
    expect(await status()).toMatchObject(refused);
    await expect(asOwner(`select embedder.resume_pipeline('doc')`)).rejects.toMatchObject({ code: '55000' });
    await expect(asOwner(`select embedder.recount('doc')`)).rejects.toMatchObject({ code: '42501' });

    await asOwner(unforce);
    await makeDue(database);
    await drain(database);
    await allThere('new');
    expect(await status()).toMatchObject({ state: 'live', error: null, source_rows: 2, embedded_rows: 2 });
  });
});

it('a delete while the sidecar hides its rows is known afterwards', async () => {
  await asOwner(
    'alter table app.doc_embedding enable row level security, force row level security; delete from app.doc where id = 1',
  );
  await drain(database);
  expect(await status()).toMatchObject({ state: 'error' });
  await asOwner('alter table app.doc_embedding no force row level security, disable row level security');
  await drain(database);
  await drain(database);
  expect((await database.query('select id from app.doc_embedding')).rows).toEqual([{ id: 2 }]);
  expect(await status()).toMatchObject({ state: 'live', source_rows: 1, embedded_rows: 1 });
});

it('is refused at declaration, and not where the owner passes by it', async () => {
  await asOwner(
    `create table app.other (id int primary key, body text); alter table app.other enable row level security, force row level security`,
  );
  await expect(asOwner(`select embedder.create_pipeline('app.other', 'body')`)).rejects.toMatchObject({
    code: '55000',
    message: expect.stringMatching(/row level security of app\.other binds its owner/),
    hint: expect.stringMatching(/no force row level security; or, as a superuser: alter role \S+ bypassrls/),
  });
  await database.query(`alter role ${owner.name} bypassrls`);
  await asOwner(
    `insert into app.other values (1, 'text'); select embedder.create_pipeline('app.other', 'body', index => 'none')`,
  );
  await drain(database);
  expect((await database.query('select id from app.other_embedding')).rows).toEqual([{ id: 1 }]);
  // And when it no longer does.
  await database.query(`alter role ${owner.name} nobypassrls; update app.other set body = 'new'`);
  await drain(database);
  expect((await database.query('select id from app.other_embedding')).rows).toEqual([{ id: 1 }]);
  expect((await database.query(`select state from embedder.status where pipeline = 'other'`)).rows).toEqual([
    { state: 'error' },
  ]);
});

it.each([
  ['the table', `revoke select on app.doc from OWNER`],
  ['a column', `revoke select on app.doc from OWNER; grant select (id, tenant) on app.doc to OWNER`],
])('an owner who may not read %s loses no vector', async (_, statements) => {
  await asOwner(statements.replaceAll('OWNER', owner.name));
  await database.query(`update app.doc set body = 'new' where id = 1`);
  const embedder = new FakeEmbedder();
  await drain(database, { embedder });
  expect(embedder.calls).toEqual([]);
  await allThere('text 1');
  expect(await status()).toMatchObject({ state: 'error' });
  await asOwner(`grant select on app.doc to ${owner.name}`);
  await database.query(`select embedder.resume_pipeline('doc')`);
  await makeDue(database);
  await drain(database);
  await allThere('new');
});
