import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  type MigratedDatabase,
  queued,
  readVectors,
  wrongKeys,
} from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let owner: TestRole;
let heir: TestRole;
let reader: TestRole;

beforeAll(async () => {
  database = await createMigratedDatabase();
  [owner, heir, reader] = [await createRole(), await createRole(), await createRole()];
  await database.query(`grant create on schema public to ${owner.name}, ${heir.name}`);
});
afterAll(async () => {
  await database.drop();
  for (const role of [owner, heir, reader]) await role.drop();
});
afterEach(() =>
  database.query(`select embedder.drop_pipeline(name, true) from embedder.pipeline where live; delete from embedder.pipeline;
    drop table if exists doc, child, loose, low, high, middle, twin, author, doc_embedding cascade; drop function if exists shout`),
);

const q = (sql: string) => database.query(sql);
const triggersOf = async (table: string) =>
  (await q(`select tgname from pg_trigger where tgrelid = '${table}'::regclass and tgname ~ '^embedder_'`))
    .rowCount;
/** Drains, and compares target, counts and source: `wanted` maps keys to texts. */
async function holds(wanted: Record<string, string>, target = 'select id, embedding from doc_embedding') {
  expect((await drain(database)).failing).toEqual([]);
  const vectors = new Map(Object.entries(wanted).map(([id, text]) => [id, fakeVector(text)]));
  expect(wrongKeys(await readVectors(database, target), vectors)).toEqual([]);
  const { rows } =
    await q(`select embedded_rows::int as vectors, stale_rows::int as stale, pending::int as pending, error,
    source_rows = (select count(*) from doc) as counted from embedder.status`);
  expect(rows).toEqual([{ vectors: vectors.size, stale: 0, pending: 0, error: null, counted: true }]);
}
/** Runs in a session of the superuser with the rights of another role. */
async function as<Row extends Record<string, unknown>>(role: TestRole, sql: string): Promise<Row[]> {
  const client = await database.pool.connect();
  try {
    await client.query(`set role ${role.name}`);
    return (await client.query<Row>(sql)).rows;
  } finally {
    await client.query('reset role');
    client.release();
  }
}

describe.each([
  ['a sidecar', '', 'select id, embedding from doc_embedding'],
  ['a column', `, target_column => 'e', index => 'none'`, 'select id, e from doc where e is not null'],
])('a partitioned table with %s', (_, rest, target) => {
  // low holds 1 to 99, high has two partitions below it: middle (100 to 199) and top (200 to 299).
  const make = async () => {
    await q(`create table doc (id int primary key, body text) partition by range (id);
      create table low partition of doc for values from (1) to (100);
      create table high partition of doc for values from (100) to (300) partition by range (id);
      create table middle partition of high for values from (100) to (200);
      create table twin partition of high for values from (200) to (300);
      insert into doc values (1, 'one'), (101, 'hundred'), (201, 'two hundred')`);
    await q(`select embedder.create_pipeline('doc', 'body'${rest})`);
  };

  it('is backfilled, and follows rows through the parent, a partition and between', async () => {
    await make();
    const all = { 1: 'one', 101: 'hundred', 201: 'two hundred' };
    await holds(all, target);
    await q(`insert into doc (id, body) values (2, 'parent'); insert into low (id, body) values (3, 'leaf'); insert into high (id, body) values (102, 'sub');
      insert into middle (id, body) values (103, 'subleaf'); insert into doc (id, body) values (4, 'p'), (104, 'q') on conflict (id) do update set body = 'x'`);
    expect(await queued(database, 'doc')).toEqual(['102', '103', '104', '2', '3', '4']);
    await holds({ ...all, 2: 'parent', 3: 'leaf', 102: 'sub', 103: 'subleaf', 4: 'p', 104: 'q' }, target);
    await q(`update doc set id = id + 100 where id = 4; `).catch((error: { code: string }) =>
      expect(error.code).toBe('23505'),
    );
    await q(`update doc set id = 110, body = 'moved' where id = 4; update high set id = 250 where id = 104; update low set body = 'changed' where id = 3;
      update doc set id = 9 where id = 2; delete from middle where id = 103; delete from high where id = 201; delete from doc where id = 1`);
    await holds({ 101: 'hundred', 9: 'parent', 3: 'changed', 102: 'sub', 110: 'moved', 250: 'q' }, target);
  });

  it('follows COPY into the parent and into a partition', async () => {
    await make();
    await holds({ 1: 'one', 101: 'hundred', 201: 'two hundred' }, target);
    await q(
      `copy doc (id, body) from program $$printf '10\\tcopied\\n110\\tcopied too\\n'$$; copy low (id, body) from program $$printf '11\\tstraight\\n'$$`,
    );
    expect(await queued(database, 'doc')).toEqual(['10', '11', '110']);
    await holds(
      { 1: 'one', 101: 'hundred', 201: 'two hundred', 10: 'copied', 110: 'copied too', 11: 'straight' },
      target,
    );
  });

  it('follows the truncation of one partition, and of all', async () => {
    await make();
    await holds({ 1: 'one', 101: 'hundred', 201: 'two hundred' }, target);
    await q(
      `insert into low (id, body) values (2, 'waits'); insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, '1', 5, 'e' from embedder.pipeline`,
    );
    // A worker looks for what its rows have left, and not the user's statement.
    await q('truncate low');
    expect((await q('select from embedder.failed_job')).rowCount).toBe(1);
    await holds({ 101: 'hundred', 201: 'two hundred' }, target);
    expect((await q('select from embedder.failed_job')).rowCount).toBe(0);
    await q('truncate high');
    await holds({}, target);
    await q(`insert into doc (id, body) values (5, 'again')`);
    await holds({ 5: 'again' }, target);
    await q('truncate doc');
    await holds({}, target);
  });

  it('gives new and attached partitions its triggers, and embeds what they bring', async () => {
    await make();
    await drain(database);
    await q(`create table loose (like doc including all); insert into loose (id, body) values (301, 'brought'), (302, null);
      alter table doc attach partition loose for values from (300) to (400);
      create table child partition of doc for values from (400) to (500); insert into doc (id, body) values (401, 'by parent')`);
    // Its own triggers come with the worker; until then the parent's see what goes through the parent.
    expect(await triggersOf('child')).toBe(0);
    const all = { 1: 'one', 101: 'hundred', 201: 'two hundred', 301: 'brought', 401: 'by parent' };
    await q(`insert into child (id, body) values (402, 'unseen')`);
    await holds({ ...all, 402: 'unseen' }, target);
    expect([await triggersOf('child'), await triggersOf('loose')]).toEqual([4, 4]);
    await q(`insert into child (id, body) values (403, 'seen'); delete from loose where id = 301`);
    expect(await queued(database, 'doc')).toEqual(['403']);
    const { 301: _gone, ...left } = all;
    await holds({ ...left, 402: 'unseen', 403: 'seen' }, target);
  });

  it('lets detached and dropped partitions go', async () => {
    await make();
    await drain(database);
    await q(
      `alter table doc detach partition low; insert into low (id, body) values (50, 'no more'); drop table middle`,
    );
    await holds({ 201: 'two hundred' }, target);
    expect(await triggersOf('low')).toBe(0);
    await q(`update low set body = 'x'; delete from low where id = 1; truncate low`);
    expect(await queued(database, 'doc')).toEqual([]);
    await q(
      `insert into low (id, body) values (60, 'back'); alter table doc attach partition low for values from (1) to (100)`,
    );
    await holds({ 201: 'two hundred', 60: 'back' }, target);
  });
});

describe('other kinds of tables', () => {
  it('a child by inheritance is part of its parent', async () => {
    await q(`create table doc (id int primary key, body text); create table child (more text, primary key (id)) inherits (doc);
      insert into doc values (1, 'parent'); insert into child values (2, 'child'); select embedder.create_pipeline('doc', 'body')`);
    await holds({ 1: 'parent', 2: 'child' });
    await q(`insert into child values (3, 'c'); update doc set body = 'all'; delete from doc where id = 2`);
    await holds({ 1: 'all', 3: 'all' });
    await q(`truncate only doc`);
    await holds({ 3: 'all' });
    await q(`create table loose () inherits (doc); insert into loose values (7, 'late')`);
    await holds({ 3: 'all', 7: 'late' });
    await q(`alter table child no inherit doc; drop table loose`);
    await holds({});
    expect(await triggersOf('child')).toBe(0);
  });

  it('a child whose rows are changed through its parent', async () => {
    await q(`create table author (id int primary key, body text); create table doc (primary key (id)) inherits (author);
      insert into doc select i, 'row ' || i from generate_series(1, 5) i; select embedder.create_pipeline('doc', 'body')`);
    const rows = { 1: 'row 1', 2: 'row 2', 3: 'row 3', 4: 'row 4', 5: 'row 5' };
    await holds(rows);
    await q(
      `delete from author where id = 1; update author set body = 'new' where id = 2; update author set id = 9 where id = 3`,
    );
    await holds({ 2: 'new', 9: 'row 3', 4: 'row 4', 5: 'row 5' });
    // A table below it that has another parent as well.
    await q(`create table loose (id int, body text); create table child (primary key (id)) inherits (doc, loose);
      insert into child values (11, 'x'), (12, 'y')`);
    await holds({ 2: 'new', 9: 'row 3', 4: 'row 4', 5: 'row 5', 11: 'x', 12: 'y' });
    await q('delete from loose where id = 11; delete from author where id = 12; truncate author');
    await holds({});
    // One that gets a parent later.
    await q(`alter table doc no inherit author; insert into doc values (1, 'a'), (2, 'b'); drop table child`);
    await holds({ 1: 'a', 2: 'b' });
    await q('alter table doc inherit author; delete from author where id = 1');
    await holds({ 2: 'b' });
    await q(`insert into doc values (3, 'c'); delete from author where id = 2`);
    await holds({ 3: 'c' });
  });

  it('a foreign key on its sidecar may take results away with their rows', async () => {
    await q(`create table doc (id int primary key, body text); insert into doc select i, 'row ' || i from generate_series(1, 5) i;
      select embedder.create_pipeline('doc', 'body')`);
    await drain(database);
    await q(
      'alter table doc_embedding add foreign key (id) references doc on delete cascade on update cascade',
    );
    await holds({ 1: 'row 1', 2: 'row 2', 3: 'row 3', 4: 'row 4', 5: 'row 5' });
    await q(
      `delete from doc where id < 3; update doc set id = 9 where id = 3; insert into doc values (7, 'seven')`,
    );
    await drain(database);
    // Workers do this from time to time.
    await q('select embedder.fold_tally()');
    await holds({ 4: 'row 4', 5: 'row 5', 7: 'seven', 9: 'row 3' });
  });

  it('a source that becomes a partition stops, and goes on when it is one no more', async () => {
    await q(
      `create table doc (id int primary key, body text); insert into doc values (1, 'a'); select embedder.create_pipeline('doc', 'body')`,
    );
    await holds({ 1: 'a' });
    await q(`create table loose (id int primary key, body text) partition by range (id);
      alter table loose attach partition doc for values from (0) to (100); insert into loose values (2, 'b')`);
    expect((await drain(database)).failing.map(({ error }) => error)).toEqual([
      expect.stringMatching(
        /^public\.doc is a partition now, of public\.loose, and its triggers see no rows/,
      ),
    ]);
    await q(
      "insert into loose values (3, 'c'); delete from loose where id = 1; alter table loose detach partition doc",
    );
    await holds({ 2: 'b', 3: 'c' });
  });

  it('a generated column is an input', async () => {
    await q(`create table doc (id int primary key, a text, b text, body text generated always as (a || ' ' || b) stored);
      insert into doc values (1, 'x', 'y'); select embedder.create_pipeline('doc', 'body')`);
    await holds({ 1: 'x y' });
    await q(`update doc set b = 'z'; insert into doc values (2, 'p', null), (3, 'p', 'q')`);
    await holds({ 1: 'x z', 3: 'p q' });
  });

  it('foreign keys that cascade are seen', async () => {
    await q(`create table author (id int primary key);
      create table doc (id int primary key, body text, author int references author on delete cascade on update cascade, parent int references doc on delete cascade);
      insert into author values (1), (2); insert into doc values (1, 'a', 1, null), (2, 'b', 2, null), (3, 'c', null, 1), (4, 'd', null, 3);
      select embedder.create_pipeline('doc', '{author}: {body}')`);
    await holds({ 1: '1: a', 2: '2: b', 3: ': c', 4: ': d' });
    await q('update author set id = 9 where id = 2; delete from author where id = 1');
    await holds({ 2: '9: b' });
    await q('truncate author cascade');
    await holds({});
  });
});

describe('row level security of the source', () => {
  it('holds for readers of the sidecar and of the view, also when it is switched on later', async () => {
    await q(`create table doc (id int primary key, body text, who text); alter table doc owner to ${owner.name};
      insert into doc values (1, 'a', '${reader.name}'), (2, 'b', 'x')`);
    await as(owner, `select embedder.create_pipeline('doc', 'body', index => 'none')`);
    await holds({ 1: 'a', 2: 'b' });
    await as(owner, `grant select on doc, doc_embedding, doc_with_embedding to ${reader.name}`);
    const seen = async () =>
      (
        await Promise.all(
          ['doc', 'doc_embedding', 'doc_with_embedding'].map((table) =>
            as(reader, `select id from ${table} order by id`),
          ),
        )
      ).map((rows) => rows.map(({ id }) => id));
    expect(await seen()).toEqual([
      [1, 2],
      [1, 2],
      [1, 2],
    ]);
    await as(
      owner,
      `alter table doc enable row level security; create policy own on doc using (who = current_user)`,
    );
    await holds({ 1: 'a', 2: 'b' });
    expect(await seen()).toEqual([[1], [1], [1]]);
    await as(owner, `insert into doc values (3, 'c', '${reader.name}')`);
    await holds({ 1: 'a', 2: 'b', 3: 'c' });
    expect(await seen()).toEqual([
      [1, 3],
      [1, 3],
      [1, 3],
    ]);
    // A pipeline that is made when it is on already, of two columns of key; and a column target.
    await as(
      owner,
      `select embedder.create_pipeline('doc', 'body', name => 'late', index => 'none'); grant select on late_embedding to ${reader.name};
      select embedder.create_pipeline('doc', 'body', name => 'col', target_column => 'e', index => 'none'); grant select on col_with_embedding to ${reader.name}`,
    );
    expect((await drain(database)).failing).toEqual([]);
    expect(await as(reader, 'select id from late_embedding order by id')).toEqual([{ id: 1 }, { id: 3 }]);
    expect(await as(reader, 'select id from col_with_embedding order by id')).toEqual([{ id: 1 }, { id: 3 }]);
    expect(await as(owner, 'select from late_embedding')).toHaveLength(3);
    await as(
      owner,
      `select embedder.drop_pipeline('late', true), embedder.drop_pipeline('col', true); alter table doc disable row level security`,
    );
    await holds({ 1: 'a', 2: 'b', 3: 'c' });
    expect(await seen()).toEqual([
      [1, 2, 3],
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  it('a sidecar’s own row level security is left alone', async () => {
    await q(`create table doc (id int primary key, body text); insert into doc values (1, 'a'); select embedder.create_pipeline('doc', 'body', index => 'none');
      alter table doc_embedding enable row level security; create policy mine on doc_embedding using (id > 5)`);
    await q('alter table doc add column more text');
    await holds({ 1: 'a' });
    const { rows } = await q(
      `select polname from pg_policy where polrelid = 'doc_embedding'::regclass and (select relrowsecurity from pg_class where oid = polrelid)`,
    );
    expect(rows).toEqual([{ polname: 'mine' }]);
  });
});

describe('a source that gets another owner', () => {
  it.each([
    ['a sidecar', '', 'select id, embedding from doc_embedding'],
    ['a column', `, target_column => 'e'`, 'select id, e from doc where e is not null'],
  ])('with %s works on, with jobs that waited and for a new owner', async (_, rest, target) => {
    await q(
      `create table doc (id int primary key, body text); alter table doc owner to ${owner.name}; insert into doc values (1, 'a'), (2, 'b')`,
    );
    await as(owner, `select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
    await holds({ 1: 'a', 2: 'b' }, target);
    await as(owner, `insert into doc values (3, 'c')`);
    await q(`alter table doc owner to ${heir.name}`);
    await as(
      heir,
      `insert into doc values (4, 'd'); update doc set body = 'aa' where id = 1; delete from doc where id = 2`,
    );
    await holds({ 1: 'aa', 3: 'c', 4: 'd' }, target);
    expect(
      (
        await q(
          `select distinct relowner::regrole::text as o from pg_class where relname ~ '^doc' and relkind in ('r', 'v')`,
        )
      ).rows,
    ).toEqual([{ o: heir.name }]);
    expect(await as(heir, 'select pipeline from embedder.status')).toEqual([{ pipeline: 'doc' }]);
    expect(await as(owner, 'select pipeline from embedder.status')).toEqual([]);
    await as(
      heir,
      `select embedder.alter_pipeline('doc', filter => 'id > 1'); truncate doc; insert into doc values (5, 'e')`,
    );
    await holds({ 5: 'e' }, target);
    await as(heir, `select embedder.drop_pipeline('doc', true)`);
    expect((await q('select from embedder.pipeline')).rowCount).toBe(0);
  });
});
