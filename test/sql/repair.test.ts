import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { openDatabase } from '../../src/index.ts';
import { checkPipelines, repairPipeline } from '../../src/pipelines/verify.ts';
import { createMigratedDatabase, drain, FakeEmbedder, type MigratedDatabase } from '../support/pgembedder.ts';
import { createRole } from '../support/postgres.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
afterEach(() =>
  database.query(`select embedder.drop_pipeline(name) from embedder.pipeline where live;
    drop schema public cascade; create schema public; grant usage on schema public to public; create extension if not exists vector;
    delete from embedder.worker_process`),
);

const unseen = (statements: string) =>
  database.query(
    `begin; set local session_replication_role = replica; ${statements}; set local session_replication_role = origin; commit`,
  );

const FAULTS = [
  ['missing', 'a result', `delete from doc_embedding where id = 2`],
  ['missing', 'a chunk', `delete from doc_embedding where id = 2 and chunk = 1`],
  ['stale', 'a text', `update doc set body = 'other' where id = 2`],
  ['orphan', 'a row that is gone', `delete from doc where id = 2`],
  [
    'orphan_job',
    'a job without a row',
    `insert into embedder.job (pipeline_id, row_key) select id, '77' from embedder.pipeline`,
  ],
  [
    'orphan_dead_letter',
    'a dead letter without a row',
    `insert into embedder.dead_letter (pipeline_id, row_key, attempts, error) select id, '78', 1, 'x' from embedder.pipeline`,
  ],
] as const;

describe.each(FAULTS)('%s: %s', (fault, _what, statements) => {
  it('is put right by a repair and a worker', async () => {
    await database.query(`create table doc (id int primary key, body text);
      insert into doc select n, repeat('some words here. ', 20) from generate_series(1, 5) n;
      select embedder.create_pipeline('doc', 'body', index => 'none', chunking => '{"strategy": "recursive", "size": 8, "overlap": 0}')`);
    await drain(database, { embedder: new FakeEmbedder() });
    await unseen(statements);
    const open = openDatabase(database.url);
    try {
      const [found] = await checkPipelines(open, 'doc');
      expect(found!.faults).toEqual({ [fault]: 1 });
      await repairPipeline(open, found!);
      await drain(database, { embedder: new FakeEmbedder() });
      expect(await checkPipelines(open, 'doc')).toMatchObject([{ faults: {}, problems: [] }]);
    } finally {
      await open.destroy();
    }
  });
});

it('one that cannot be checked does not keep the others from it, unless it is asked for by name', async () => {
  const owner = await createRole();
  await database.query(`create schema shop authorization ${owner.name}; set role ${owner.name};
    create table shop.doc (id int primary key, body text); insert into shop.doc values (1, 'a');
    select embedder.create_pipeline('shop.doc', 'body', name => 'a', index => 'none'); reset role;
    create table doc (id int primary key, body text); insert into doc values (1, 'a');
    select embedder.create_pipeline('doc', 'body', name => 'b', index => 'none')`);
  await drain(database, { embedder: new FakeEmbedder() });
  await database.query(
    'alter table shop.doc enable row level security; alter table shop.doc force row level security',
  );
  await unseen(`update doc set body = 'b'`);
  const open = openDatabase(database.url);
  try {
    const reports = await checkPipelines(open);
    expect(reports).toMatchObject([
      { pipeline: 'a', well: false, faults: {}, sourceRows: null },
      { pipeline: 'b', well: false, faults: { stale: 1 }, sourceRows: 1 },
    ]);
    expect(reports[0]!.problems.join()).toContain('row level security');
    for (const report of reports) await repairPipeline(open, report);
    await expect(checkPipelines(open, 'a')).rejects.toMatchObject({ name: 'UserError' });
  } finally {
    await open.destroy();
    await database.query(`alter table shop.doc no force row level security; select embedder.drop_pipeline('a');
      drop schema shop cascade; drop owned by ${owner.name} cascade`);
    await owner.drop();
  }
});
