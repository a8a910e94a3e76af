import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/start-embedded.ts';
import { createWorker } from '../../../src/worker/worker.ts';
import { FakeEmbedder, fakeVector, knownModels, silent, wrongKeys } from '../../support/pgembedder.ts';

// The embedded Postgres is 18, which has these and the server that the tests start may not have.
let directory: string;
let embedded: EmbeddedPostgres;
let client: pg.Client;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pgembedder-newest-'));
  embedded = await startEmbedded(directory, { logger: pino({ enabled: false }) });
  const database = openDatabase(embedded.url, 1);
  await migrate(database, knownModels());
  await database.destroy();
  client = new pg.Client({ connectionString: embedded.url });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await embedded.stop();
  await rm(directory, { recursive: true });
});
afterEach(() =>
  client.query(`select embedder.drop_pipeline(name, drop_target => true) from embedder.pipeline where live;
    drop table if exists doc, price, room, stay cascade`),
);

const rowsOf = async (sql: string) => (await client.query(sql)).rows;

/** Works until no job is due, and gives back the texts that were embedded. */
async function work(): Promise<string[]> {
  const embedder = new FakeEmbedder();
  await createWorker({ connection: embedded.url, logger: silent, embedder }).drain();
  return embedder.calls.flat().sort();
}

/** The keys whose vector is not that of their text. */
async function wrong(results: string, texts: string): Promise<string[]> {
  const found = (
    await client.query<{ key: string; vector: string }>(
      `select key::text, vector::text from (${results}) r(key, vector)`,
    )
  ).rows.map(({ key, vector }) => [key, Float32Array.from(JSON.parse(vector) as number[])] as const);
  const wanted = (
    await client.query<{ key: string; body: string }>(`select key::text, body from (${texts}) t(key, body)`)
  ).rows.map(({ key, body }) => [key, fakeVector(body)] as const);
  return wrongKeys(new Map(found), new Map(wanted));
}

const VIRTUAL = 'a virtual generated column, and triggers do not see when it changes';
const shown = `create table doc (id int primary key, body text, shown text generated always as (upper(body)) virtual)`;

describe('is refused in one sentence', () => {
  it.each([
    [
      'an input that names a virtual generated column',
      shown,
      `select embedder.create_pipeline('doc', '{body} {shown}')`,
      `column "shown" of public.doc is ${VIRTUAL}`,
    ],
    [
      'a filter that names one',
      shown,
      `select embedder.create_pipeline('doc', 'body', filter => 'shown <> ''''')`,
      `column "shown" of public.doc is ${VIRTUAL}`,
    ],
    [
      'a chunk template that names one',
      shown,
      `select embedder.create_pipeline('doc', 'body', chunking => '{"strategy": "tokens", "template": "{shown}: {chunk}"}')`,
      `column "shown" of public.doc is ${VIRTUAL}`,
    ],
    [
      'a change of the input to one',
      `${shown}; select embedder.create_pipeline('doc', 'body')`,
      `select embedder.alter_pipeline('doc', input => 'shown')`,
      `column "shown" of public.doc is ${VIRTUAL}`,
    ],
    [
      'a key without overlaps',
      `create table price (rooms int4range, valid_at daterange, body text, primary key (rooms, valid_at without overlaps))`,
      `select embedder.create_pipeline('price', 'body')`,
      'table public.price has a primary key "without overlaps", by which one row cannot be told from another',
    ],
  ])('%s', async (_, table, declaration, message) => {
    await client.query(table);
    await expect(client.query(declaration)).rejects.toMatchObject({
      message,
      hint: expect.stringMatching(/^Make /),
    });
  });
});

describe('stops the pipeline with one sentence, until it is mended:', () => {
  it.each([
    [
      'an input that becomes a virtual generated column',
      'alter table doc drop column body, add column body text generated always as (raw || $$!$$)',
      `column "body" of public.doc is ${VIRTUAL}. Make it a stored one, or let the pipeline read the columns that it is made of`,
      'alter table doc drop column body, add column body text generated always as (raw || $$?$$) stored',
    ],
    [
      'a filter whose column becomes one',
      'alter table doc drop column kept, add column kept bool generated always as (id > 0)',
      `column "kept" of public.doc is ${VIRTUAL}. Make it a stored one, or let the pipeline read the columns that it is made of`,
      'alter table doc drop column kept, add column kept bool generated always as (id > 1) stored',
    ],
    [
      'a key that becomes one without overlaps',
      'alter table doc drop constraint doc_pkey, add primary key (span, valid_at without overlaps)',
      'table public.doc has a primary key "without overlaps" now, by which one row cannot be told from another. Make a key of plain columns the primary one',
      `alter table doc drop constraint doc_pkey, add primary key (id); insert into doc values (3, 'c', 'text c', true)`,
    ],
  ])('%s', async (_, change, problem, mend) => {
    await client.query(`create table doc (id int primary key, raw text, body text, kept bool default true,
        span int4range default '[1,2)', valid_at daterange default 'empty');
      insert into doc select i, 'raw ' || i, 'text ' || i, true, int4range(i, i + 1), daterange('2020-01-01', '2021-01-01') from generate_series(1, 2) i;
      select embedder.create_pipeline('doc', 'body', filter => 'kept', index => 'none')`);
    await work();
    await client.query(change);
    await work();
    expect(await rowsOf('select error from embedder.status')).toEqual([{ error: problem }]);
    await client.query(mend);
    await work();
    expect(await rowsOf('select error from embedder.status')).toEqual([{ error: null }]);
    expect(
      await wrong('select id, embedding from doc_embedding', 'select id, body from doc where kept'),
    ).toEqual([]);
  });
});

describe('is followed:', () => {
  it('a table with a virtual generated column that the pipeline does not read, uuids by time, and constraints that are not enforced', async () => {
    await client.query(`create table doc (id uuid primary key default uuidv7(), body text, author int not null,
        shown text generated always as (upper(body)) virtual, check (author > 0) not enforced, unique (author) deferrable);
      insert into doc (body, author) values ('a', 1), ('b', 2);
      select embedder.create_pipeline('doc', 'body', index => 'none')`);
    expect(await work()).toEqual(['a', 'b']);
    await client.query(
      `insert into doc (body, author) values ('c', 3); update doc set body = 'n' where body = 'a'; delete from doc where body = 'b'`,
    );
    expect(await work()).toEqual(['c', 'n']);
    expect(await wrong('select id, embedding from doc_embedding', 'select id, body from doc')).toEqual([]);
    expect(await rowsOf('select shown from doc_with_embedding order by 1')).toEqual([
      { shown: 'C' },
      { shown: 'N' },
    ]);
    expect(
      await rowsOf(
        `select input from embedder.search('doc', (select embedding from doc_embedding limit 1), 5, 'shown = ''N''')`,
      ),
    ).toEqual([{ input: 'n' }]);
  });

  it('a temporal constraint beside a plain key, and one that refers to it', async () => {
    await client.query(`create table room (id int primary key, rooms int4range, valid_at daterange, body text, unique (rooms, valid_at without overlaps));
      create table stay (id int primary key, rooms int4range, valid_at daterange, body text,
        foreign key (rooms, period valid_at) references room (rooms, period valid_at));
      insert into room values (1, '[1,2)', '[2020-01-01,2021-01-01)', 'a');
      insert into stay values (1, '[1,2)', '[2020-02-01,2020-03-01)', 'b');
      select embedder.create_pipeline('room', 'body', index => 'none');
      select embedder.create_pipeline('stay', 'body', index => 'none')`);
    expect(await work()).toEqual(['a', 'b']);
    await client.query(`update room set body = 'n'; update stay set body = 'm'`);
    expect(await work()).toEqual(['m', 'n']);
  });

  it('merge with rows that the source lacks, and what statements give back of before and after', async () => {
    await client.query(`create table doc (id int primary key, body text);
      insert into doc select i, 'text ' || i from generate_series(1, 3) i;
      select embedder.create_pipeline('doc', 'body', index => 'none')`);
    await work();
    const merged =
      await rowsOf(`merge into doc using (values (2, 'new'), (4, 'more')) v(id, body) on doc.id = v.id
      when matched then update set body = v.body
      when not matched then insert values (v.id, v.body)
      when not matched by source then delete
      returning merge_action() as action, old.id as before, new.id as after`);
    expect(merged).toHaveLength(4);
    expect(await work()).toEqual(['more', 'new']);
    expect(
      await rowsOf(
        `update doc set body = body || '!' where id = 2 returning old.body as before, new.body as after`,
      ),
    ).toEqual([{ before: 'new', after: 'new!' }]);
    expect(await work()).toEqual(['new!']);
    expect(await wrong('select id, embedding from doc_embedding', 'select id, body from doc')).toEqual([]);
    expect(await rowsOf('select source_rows::int, embedded_rows::int from embedder.status')).toEqual([
      { source_rows: 2, embedded_rows: 2 },
    ]);
  });
});
