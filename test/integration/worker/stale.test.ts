import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { completeJobs, readInputs } from '../../../src/queue/batch.ts';
import { claimJobs } from '../../../src/queue/jobs.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  fakeVector,
  type MigratedDatabase,
  queued,
  readVectors,
  wrongKeys,
} from '../../support/pgembedder.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
afterEach(async () => {
  await database.query(`select embedder.drop_pipeline(name) from embedder.pipeline where live;
    drop schema public cascade; create schema public; create extension if not exists vector;
    delete from embedder.worker_process`);
  await rangesOf(10_000);
});

/** From now on a range has so many rows. */
const rangesOf = (rows: number) =>
  database.query(
    `create or replace function embedder.rows_per_range() returns bigint language sql immutable return ${rows}`,
  );

/** Runs statements of which no trigger hears. */
const unseen = (statements: string) =>
  database.query(
    `begin; set local session_replication_role = replica; ${statements}; set local session_replication_role = origin; commit`,
  );

const texts = ({ calls }: FakeEmbedder) => calls.flat().sort();

/** Drains, and gives back the texts that were embedded. */
async function work(window = 100): Promise<string[]> {
  const embedder = new FakeEmbedder();
  const { failing } = await drain(database, { embedder, window });
  expect(failing).toEqual([]);
  return texts(embedder);
}

const backfill = (rest = '') => database.query(`select embedder.backfill('doc'${rest})`);
const status = async () =>
  (
    await database.query<{ source: number; embedded: number; coverage: number | null; failed: number }>(
      `select source_rows::int as source, embedded_rows::int as embedded, coverage::float8, failed::int
       from embedder.status where pipeline = 'doc'`,
    )
  ).rows[0]!;

/** Every row with text that `where` lets in, and only those, has the vector of its text. */
async function allRight(results = 'select id, embedding from doc_embedding', where = 'true') {
  const { rows } = await database.query<{ id: string; body: string }>(
    `select id::text, body from doc where body ~ '\\S' and (${where})`,
  );
  const wanted = new Map(rows.map(({ id, body }) => [id, fakeVector(body)]));
  expect(wrongKeys(await readVectors(database, results), wanted)).toEqual([]);
}

const make = async (rest = '', rows = 6) => {
  await database.query(`create table doc (id int primary key, body text);
    insert into doc select i, 'text ' || i from generate_series(1, ${rows}) i;
    select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
  await work();
};

it('what a worker has read before a change that nobody saw is not written after it', async () => {
  await make();
  await database.query(`update doc set body = 'read' where id in (1, 2)`);
  const { rows } = await database.query<{ id: number; oid: number }>(
    `select id, 'vector'::regtype::oid::int as oid from embedder.pipeline`,
  );
  const { id, oid } = rows[0]!;
  const jobs = await claimJobs(database.kysely, { workerId: 4711, leaseSeconds: 60 }, [id], 10);
  const inputs = await readInputs(database.kysely, jobs, 100);
  await unseen(`update doc set body = 'other' where id = 1; delete from doc where id = 2`);
  await backfill(', stale => true');
  expect(await queued(database, 'doc')).toEqual(['1', '2']);
  const done = await completeJobs(
    database.kysely,
    { id, task: 'feature-extraction', chunked: false, sparse: false, told: null },
    jobs.map((job, i) => ({ job, sourceHash: inputs[i]!.sourceHash, output: fakeVector(inputs[i]!.text!) })),
    'all-MiniLM-L6-v2',
    oid,
  );
  expect([...done]).toEqual([]);
  await work();
  await allRight();
});

const changes = `update doc set body = 'other 1' where id = 1; update doc set body = '  ' where id = 2;
  delete from doc where id in (3, 6); insert into doc (id, body) values (9, 'text 9')`;

describe('a stale backfill finds what no trigger saw, and embeds nothing else', () => {
  it('in a sidecar: changed, blank and deleted rows, also beyond the last one, and new ones', async () => {
    await make();
    await unseen(changes);
    expect(await status()).toMatchObject({ source: 6, embedded: 6 });
    await backfill();
    expect(await work()).toEqual(['text 9']);
    await backfill(', stale => true');
    expect(await work()).toEqual(['other 1']);
    await allRight();
    expect(await status()).toMatchObject({ source: 5, embedded: 4 });
    await backfill(', stale => true');
    expect(await work()).toEqual([]);
  });

  it('in a column, and what is filled outside the filter', async () => {
    await make(`, target_column => 'embedding', filter => 'id <> 4'`);
    await unseen(
      `${changes}; update doc set embedding = (select embedding from doc where id = 1) where id = 4`,
    );
    await backfill(', stale => true');
    expect(await work()).toEqual(['other 1', 'text 9']);
    await allRight('select id, embedding from doc where embedding is not null', 'id <> 4');
    expect(await status()).toMatchObject({ source: 4, embedded: 3 });
    await backfill(', stale => true');
    expect(await work()).toEqual([]);
  });

  it('of a filter: rows that have left it, or come in', async () => {
    await make(`, filter => 'body <> ''out'''`);
    await unseen(`update doc set body = 'out' where id in (1, 2); update doc set body = 'in' where id = 5`);
    await backfill(', stale => true');
    expect(await work()).toEqual(['in']);
    await allRight(undefined, `body <> 'out'`);
    expect(await status()).toMatchObject({ source: 4, embedded: 4, coverage: 1 });
  });

  it('in chunks: the whole row is judged, also by what stands around each chunk', async () => {
    await database.query(`create table doc (id int primary key, title text, body text);
      insert into doc select i, 'title ' || i, 'text ' || i from generate_series(1, 4) i;
      select embedder.create_pipeline('doc', 'body', index => 'none',
        chunking => '{"strategy": "recursive", "size": 8, "template": "{title}: {chunk}"}')`);
    await work();
    await unseen(
      `update doc set title = 'new' where id = 1; update doc set body = null where id = 2; delete from doc where id = 3`,
    );
    await backfill(', stale => true');
    expect(await work()).toEqual(['new: text 1']);
    const { rows } = await database.query('select id, chunk, chunk_text from doc_embedding order by 1, 2');
    expect(rows).toEqual([
      { id: 1, chunk: 0, chunk_text: 'text 1' },
      { id: 4, chunk: 0, chunk_text: 'text 4' },
    ]);
    await backfill(', stale => true');
    expect(await work()).toEqual([]);
  });

  it('in chunks: an edit that leaves the first chunk as it was is known afterwards', async () => {
    const words = (from: number) => Array.from({ length: 8 }, (_, i) => `word${from + i}`).join(' ');
    await database.query(`create table doc (id int primary key, body text);
      insert into doc values (1, '${words(0)} ${words(8)}');
      select embedder.create_pipeline('doc', 'body', index => 'none',
        chunking => '{"strategy": "tokens", "size": 8, "overlap": 0}')`);
    expect(await work()).toHaveLength(2);
    const first = `select ctid::text, source_hash, embedded_at from doc_embedding where chunk = 0`;
    const before = (await database.query(first)).rows[0];
    await database.query(`update doc set body = '${words(0)} ${words(20)}'`);
    expect(await work()).toHaveLength(1);
    const after = (await database.query(first)).rows[0];
    expect(after).toMatchObject({ embedded_at: before!.embedded_at });
    expect(after!.source_hash).not.toEqual(before!.source_hash);
    await backfill(', stale => true');
    expect(await work()).toEqual([]);
  });

  it('texts that begin alike and differ where nobody reads on', async () => {
    await make('', 2);
    await database.query(`update doc set body = repeat('same ', 100000)`);
    await work();
    await unseen(`update doc set body = body || 'end' where id = 2`);
    const { rows } = await database.query<{ input: string; source_hash: string }>(
      `select input, source_hash from embedder.pipeline_${await id()}_read('{1,2}', 50)`,
    );
    expect(rows[0]!.input).toEqual(rows[1]!.input);
    expect(rows[0]!.source_hash).not.toEqual(rows[1]!.source_hash);
    await backfill(', stale => true');
    expect(await work()).toHaveLength(1);
  });

  it.each([
    ['text', `'k' || i`],
    ['text collate "C"', `case i % 2 when 0 then 'ä' when 1 then ' "x",' else '''' end || i`],
    ['uuid', 'md5(i::text)::uuid'],
    ['numeric', "(i || '.25')::numeric"],
  ])('of keys of type %s, in steps that do not divide the ranges', async (type, key) => {
    await rangesOf(10);
    await database.query(`create table doc (id ${type} primary key, n int, body text);
      insert into doc select ${key}, i, 'text ' || i from generate_series(1, 95) i;
      select embedder.create_pipeline('doc', 'body', index => 'none')`);
    await work();
    await unseen(`delete from doc where n % 5 < 3; update doc set body = 'new ' || n where n % 5 = 3`);
    await backfill(', stale => true');
    expect(await work(7)).toHaveLength(19);
    await allRight();
    expect(await status()).toMatchObject({ source: 38, embedded: 38, coverage: 1 });
  });

  it('of a key of several columns, and of a table that is empty by now', async () => {
    await rangesOf(4);
    await database.query(`create table doc (a int, b text, body text, primary key (b, a));
      insert into doc select i % 3, 'b' || i, 'text ' || i from generate_series(1, 20) i;
      select embedder.create_pipeline('doc', 'body', index => 'none')`);
    await work();
    await unseen(`delete from doc where a = 1; update doc set body = 'new' where b = 'b2'`);
    await backfill(', stale => true');
    expect(await work(3)).toEqual(['new']);
    expect(await status()).toMatchObject({ source: 13, embedded: 13 });
    await unseen('truncate doc');
    await backfill(', stale => true');
    expect(await work(3)).toEqual([]);
    expect(await status()).toMatchObject({ source: 0, embedded: 0 });
  });

  it('dead letters and jobs of rows that are gone; those of rows that are there wait for a person', async () => {
    await make();
    await database.query(`insert into embedder.dead_letter (pipeline_id, row_key, attempts, error)
      select id, k, 5, 'x' from embedder.pipeline, unnest('{1,3,77}'::text[]) k;
      insert into embedder.job (pipeline_id, row_key) select id, '78' from embedder.pipeline`);
    await unseen(`update doc set body = 'other' where id = 1; delete from doc where id = 3`);
    await backfill(', stale => true');
    expect(await work()).toEqual([]);
    const { rows } = await database.query('select row_key from embedder.failed_job');
    expect(rows).toEqual([{ row_key: '1' }]);
    expect(await status()).toMatchObject({ source: 5, embedded: 5, failed: 1 });
  });

  it('of the rows that fulfil a condition', async () => {
    await make();
    await unseen(`update doc set body = 'other ' || id where id < 3; delete from doc where id = 4`);
    await backfill(`, condition => 'id = 2', stale => true`);
    expect(await work()).toEqual(['other 2']);
    await backfill(', stale => true');
    expect(await work()).toEqual(['other 1']);
    await allRight();
  });

  it('results that an earlier version wrote, or somebody by hand: nobody knows what they were made of', async () => {
    await make();
    await database.query('alter table doc_embedding drop column source_hash');
    await database.query(`select embedder.resume_pipeline('doc')`);
    await backfill();
    expect(await work()).toEqual([]);
    await backfill(', stale => true');
    expect(await work()).toHaveLength(6);
    await backfill(', stale => true');
    expect(await work()).toEqual([]);
  });
});

describe('coverage', () => {
  const coverage = async () => {
    const { rows } = await database.query(
      'select coverage::float8, empty_rows::int as empty from embedder.status',
    );
    return rows[0]!;
  };

  it.each([
    ['a sidecar', ''],
    ['a column', `, target_column => 'embedding'`],
    ['chunks', `, chunking => '{"strategy": "recursive"}'`],
  ])('of %s reaches 1: rows without text that were looked at are done', async (_, rest) => {
    await database.query(`create table doc (id int primary key, body text);
      insert into doc values (1, 'text 1'), (2, null), (3, ' '), (4, e'\u00a0'), (5, 'out');
      select embedder.create_pipeline('doc', 'body', index => 'none', filter => 'body is distinct from ''out'''${rest})`);
    await work();
    expect(await coverage()).toEqual({ coverage: 1, empty: 3 });
    await backfill(', stale => true');
    const { emptied } = await drain(database, { embedder: new FakeEmbedder() });
    expect(emptied).toBe(0);
    await database.query(
      `update doc set body = 'text 2' where id = 2; update doc set body = '' where id = 1; delete from doc where id = 3; update doc set body = 'out' where id = 4`,
    );
    expect(await coverage()).toMatchObject({ empty: 0 });
    await work();
    expect(await coverage()).toEqual({ coverage: 1, empty: 1 });
    await database.query('truncate doc; insert into doc values (1, null)');
    expect(await coverage()).toEqual({ coverage: 0, empty: 0 });
    await work();
    expect(await coverage()).toEqual({ coverage: 1, empty: 1 });
  });

  it('counts no row that nobody has looked at, and none that has gone or got text unseen', async () => {
    await database.query(
      `create table doc (id int primary key, body text); insert into doc values (1, null), (2, null), (3, null)`,
    );
    await database.query(
      `select embedder.create_pipeline('doc', 'body', index => 'none', enqueue_existing => false)`,
    );
    await work();
    expect(await coverage()).toEqual({ coverage: 0, empty: 0 });
    await backfill();
    await work();
    expect(await coverage()).toEqual({ coverage: 1, empty: 3 });
    await unseen(`update doc set body = 'text 1' where id = 1; delete from doc where id = 2`);
    await backfill(', stale => true');
    expect(await work()).toEqual(['text 1']);
    expect(await coverage()).toEqual({ coverage: 1, empty: 1 });
    await database.query(`select embedder.drop_pipeline('doc')`);
    expect((await database.query('select from embedder.empty_row')).rowCount).toBe(0);
  });
});

describe('beside other work', () => {
  it('waits for nobody who is just inserting the row of a result that had lost it', async () => {
    await make('', 40);
    await unseen('delete from doc where id > 20');
    const other = await database.pool.connect();
    try {
      await other.query(`begin; insert into doc values (30, 'text 30')`);
      await backfill(', stale => true');
      await drain(database, { embedder: new FakeEmbedder(), window: 100 });
      const { rows } = await database.query<{ keys: string[] }>(
        'select row_keys as keys from embedder.backfill_range',
      );
      expect(rows.flatMap(({ keys }) => keys)).toContain('30');
      await other.query('commit');
    } finally {
      await other.query('rollback');
      other.release();
    }
    await database.query('update embedder.backfill_range set not_before = now()');
    await work();
    await allRight();
    expect(await status()).toMatchObject({ source: 21, embedded: 21 });
  });

  it('a wider one that is under way serves', async () => {
    await make();
    const runs = async () => (await database.query('select force, stale from embedder.backfill_run')).rows;
    await backfill();
    await backfill(', stale => true');
    expect(await runs()).toEqual([{ force: false, stale: true }]);
    await backfill();
    await backfill(', stale => true');
    expect(await runs()).toEqual([{ force: false, stale: true }]);
    await backfill(', force => true');
    await backfill(', stale => true');
    expect(await runs()).toEqual([{ force: true, stale: false }]);
  });
});

describe('a target that is taken over', () => {
  const declare = (rest = '') =>
    database.query(`select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);

  it('a sidecar: what is still right stays, what has changed is made anew, what has no row goes', async () => {
    await make();
    await database.query(`select embedder.drop_pipeline('doc')`);
    await database.query(changes);
    await declare();
    expect(await work()).toEqual(['other 1', 'text 9']);
    await allRight();
    expect(await status()).toMatchObject({ source: 5, embedded: 4 });
  });

  it('also where the rows that are there are not to be queued', async () => {
    await make();
    await database.query(`select embedder.drop_pipeline('doc'); update doc set body = 'other' where id = 1`);
    await declare(', enqueue_existing => false');
    expect(await work()).toEqual(['other']);
    await allRight();
  });

  it.each([
    ['another input', `select embedder.create_pipeline('doc', 'title', index => 'none')`],
    [
      'other options',
      `select embedder.create_pipeline('doc', 'body', index => 'none', options => '{"prompt": "x"}')`,
    ],
    ['a filter', `select embedder.create_pipeline('doc', 'body', index => 'none', filter => 'id > 3')`],
  ])('by a pipeline with %s', async (what, statement) => {
    await make();
    await database.query(
      `select embedder.drop_pipeline('doc'); alter table doc add title text; update doc set title = 'title ' || id`,
    );
    await database.query(statement);
    expect(await work()).toHaveLength(what === 'a filter' ? 0 : 6);
    expect(await status()).toMatchObject({ coverage: 1 });
  });

  it('a sidecar of chunks whose options have changed: no vector of before is kept', async () => {
    const chunked = (options: string) =>
      declare(`, chunking => '{"strategy": "recursive"}', options => '${options}'`);
    await database.query(
      `create table doc (id int primary key, body text); insert into doc values (1, 'text 1'), (2, 'text 2')`,
    );
    await chunked('{}');
    await work();
    await database.query(`update doc_embedding set embedding = array_fill(0.5, array[384])::vector;
      select embedder.drop_pipeline('doc')`);
    await chunked('{"pooling": "max"}');
    expect(await work()).toHaveLength(2);
    await allRight();
  });

  it('a column that a pipeline wrote', async () => {
    await make(`, target_column => 'embedding'`);
    await database.query(`select embedder.drop_pipeline('doc'); update doc set body = 'other' where id = 1`);
    await declare(`, target_column => 'embedding', enqueue_existing => false`);
    expect(await work()).toEqual(['other']);
  });

  it('a column that somebody else has filled: made anew, unless the rows that are there are not to be queued', async () => {
    await database.query(`create table doc (id int primary key, body text, embedding vector(384));
      insert into doc select i, 'text ' || i, array_fill(0.5, array[384])::vector from generate_series(1, 3) i`);
    await declare(`, target_column => 'embedding', enqueue_existing => false`);
    expect(await work()).toEqual([]);
    await database.query(
      `select embedder.drop_pipeline('doc'); alter table doc drop column source_hash_of_embedding`,
    );
    await declare(`, target_column => 'embedding'`);
    expect(await work()).toEqual(['text 1', 'text 2', 'text 3']);
    await allRight('select id, embedding from doc');
    expect(await queued(database, 'doc')).toEqual([]);
  });
});

const id = async () =>
  (await database.query<{ id: number }>(`select id from embedder.pipeline where name = 'doc'`)).rows[0]!.id;
