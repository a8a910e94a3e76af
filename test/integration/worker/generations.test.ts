import { once } from 'node:events';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { bundledModelsDirectory } from '../../../src/models/catalog.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  openReference,
  queued,
  readVectors,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { tinyModelsFolder } from '../../support/tiny-models.ts';
import { startWorkerProcess, type WorkerProcess } from '../../support/worker-process.ts';

let database: MigratedDatabase;
let embedder: FakeEmbedder;
const workers: Worker[] = [];
const processes: WorkerProcess[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());
beforeEach(async () => {
  embedder = new FakeEmbedder();
  await database.query(`create table doc (id int primary key, title text, body text, lang text default 'en');
    insert into doc select i, 'title ' || i, 'body ' || i from generate_series(1, 20) i`);
});
afterEach(async () => {
  embedder.release();
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  for (const { child } of processes.splice(0)) child.kill('SIGKILL');
  await database.query(`drop view if exists mine; select embedder.drop_pipeline(name) from embedder.pipeline where live;
    drop schema public cascade; create schema public; create extension if not exists vector;
    delete from embedder.worker_process`);
});

const create = (rest = '') =>
  database.query(`select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
const alter = async (rest: string) =>
  (await database.query<{ done: string }>(`select embedder.alter_pipeline('doc', ${rest}) as done`)).rows[0]!
    .done;
const cutover = (rest = '') => database.query(`select embedder.cutover('doc'${rest})`);
const work = () => drain(database, { embedder });
const status = async () => {
  const { rows } = await database.query<Record<string, unknown>>('select * from embedder.status');
  expect(rows).toHaveLength(1);
  return rows[0]!;
};
const exists = async (relation: string) =>
  (await database.query<{ t: string | null }>('select to_regclass($1) as t', [relation])).rows[0]!.t !== null;
const columns = async (relation: string) =>
  (
    await database.query<{ c: string }>(
      `select attname as c from pg_attribute where attrelid = $1::regclass and attnum > 0 and not attisdropped order by attnum`,
      [relation],
    )
  ).rows.map((row) => row.c);
const generations = async () =>
  (
    await database.query<{ generation: number; live: boolean }>(
      'select generation, live from embedder.pipeline order by 1',
    )
  ).rows;

/** A vector that a relation has for each row must be that of `text` (SQL on a row of doc), and no other row has one. */
async function expectVectors(relation: string, text: string, column = 'embedding', dimensions = 384) {
  const { rows } = await database.query<{ id: number; text: string | null }>(
    `select id, ${text} as text from doc`,
  );
  const wanted = new Map(
    rows.filter((row) => row.text !== null).map((row) => [String(row.id), fakeVector(row.text!, dimensions)]),
  );
  const found = await readVectors(
    database,
    `select id, ${column} from ${relation} where ${column} is not null`,
  );
  expect(wrongKeys(found, wanted)).toEqual([]);
}

const TITLE_AND_BODY = `concat(title, ': ', body)`;
const change = () =>
  database.query(`insert into doc values (21, 'new', 'row'), (22, 'blank', null); update doc set body = 'changed ' || id where id in (2, 3);
    update doc set title = 'changed ' || id where id in (4, 5); delete from doc where id in (6, 7); update doc set id = 80 where id = 8`);

async function startWorker(): Promise<Worker> {
  const worker = workerOn(database, { embedder });
  workers.push(worker);
  await worker.start();
  return worker;
}

describe('changes in place', () => {
  it('are done at once and open no generation', async () => {
    await create();
    await work();
    expect(await alter('priority => 7, max_attempts => 2')).toBe('changed');
    expect(await alter(`filter => 'id > 10'`)).toBe('changed');
    expect(await alter(`index => 'hnsw', index_options => '{"m": 8}'`)).toBe('changed');
    expect(await alter(`priority => 7, model => 'all-MiniLM-L6-v2', input => 'body'`)).toBe('unchanged');
    const { rows } = await database.query(
      'select generation, priority, max_attempts, filter, index, index_options from embedder.pipeline',
    );
    expect(rows).toEqual([
      {
        generation: 1,
        priority: 7,
        max_attempts: 2,
        filter: '(id > 10)',
        index: 'hnsw',
        index_options: { m: 8 },
      },
    ]);
    // The rows that have left the filter lose their vectors to the worker (docs/limits.md).
    await expectVectors('doc_embedding', 'body');
    await work();
    await expectVectors('doc_embedding', 'case when id > 10 then body end');
    expect(await status()).toMatchObject({
      source_rows: '10',
      embedded_rows: '10',
      index_state: 'built',
      next_generation: null,
    });
    const { rowCount } = await database.query(
      `select from pg_index x join pg_class c on c.oid = indexrelid where indrelid = 'doc_embedding'::regclass and 'm=8' = any (c.reloptions)`,
    );
    expect(rowCount).toBe(1);
    expect(await alter(`filter => ''`)).toBe('changed');
    await work();
    await expectVectors('doc_embedding', 'body');
  });

  it('a new name takes the view along', async () => {
    await create();
    await work();
    expect(await alter(`new_name => 'other'`)).toBe('changed');
    expect(await status()).toMatchObject({ pipeline: 'other', target_table: 'doc_embedding', state: 'live' });
    expect([await exists('doc_with_embedding'), await exists('other_with_embedding')]).toEqual([false, true]);
    await database.query(`insert into doc values (30, 't', 'b30')`);
    await work();
    await expectVectors('other_with_embedding', 'body');
    await create(`, target_table => 'doc_second'`);
    await expect(alter(`new_name => 'other'`)).rejects.toMatchObject({ code: '42710' });
    await expect(alter(`new_name => 'third', input => 'title'`)).rejects.toMatchObject({ code: '22023' });
    await expect(alter(`max_attempts => 0`)).rejects.toMatchObject({ code: '22023' });
  });

  it('hold for both generations, each with its own input', async () => {
    await create();
    await work();
    await alter(`input => '{title}: {body}'`);
    expect(await alter(`filter => $$lang = 'en'$$, priority => 3`)).toBe('changed');
    await database.query(`update doc set lang = 'de' where id = 1`);
    await work();
    await expectVectors('doc_embedding', `case when lang = 'en' then body end`);
    await expectVectors('doc_embedding_2', `case when lang = 'en' then ${TITLE_AND_BODY} end`);
    // Each generation follows the columns that it reads.
    await database.query(
      `alter table doc rename column title to heading; insert into doc (id, heading, body) values (40, 'h', 'b')`,
    );
    expect((await work()).failing).toEqual([]);
    await expectVectors(
      'doc_embedding_2',
      `case when lang = 'en' then ${TITLE_AND_BODY.replace('title', 'heading')} end`,
    );
  });
});

describe('the next generation', () => {
  it.each([
    ['input', `input => '{title}: {body}'`, TITLE_AND_BODY, 20],
    ['prompt', `options => '{"prompt": "passage: "}'`, `'passage: ' || body`, 19],
    ['chunking', `chunking => '{"strategy": "recursive", "size": 64}'`, 'body', 19],
  ])('by another %s: both are kept in step, and the live one is served', async (_, options, text, rows) => {
    await create();
    await work();
    expect(await alter(options)).toBe('next generation');
    expect(await status()).toMatchObject({
      generation: 1,
      state: 'live',
      next_generation: 2,
      next_state: 'filling',
      next_coverage: '0.0000',
    });
    await expectVectors('doc_with_embedding', 'body');
    await change();
    // Also what is changed while a worker has both in hand.
    embedder.hold();
    const call = embedder.nextCall();
    const working = work();
    await call;
    await database.query(`update doc set body = 'in between' where id = 9; delete from doc where id = 10;
      insert into doc values (50, 'fifty', '50')`);
    embedder.release();
    await working;
    await expectVectors('doc_embedding', 'body');
    await expectVectors('doc_embedding_2', text);
    await expectVectors('doc_with_embedding', 'body');
    expect(await status()).toMatchObject({
      generation: 1,
      next_state: 'filled',
      source_rows: '20',
      embedded_rows: '19',
      // The row without text is done too.
      next_coverage: '1.0000',
    });
    await cutover();
    expect(await status()).toMatchObject({
      generation: 2,
      state: 'live',
      next_generation: null,
      target_table: 'doc_embedding',
      embedded_rows: String(rows),
    });
    expect(await exists('doc_embedding_2')).toBe(false);
    expect(await generations()).toEqual([{ generation: 2, live: true }]);
    await database.query(
      `update doc set body = 'last', title = 'last' where id = 11; delete from doc where id = 12`,
    );
    await work();
    await expectVectors('doc_embedding', text);
    await expectVectors('doc_with_embedding', text);
    expect(await jobCount(database)).toBe(0);
  });

  it('by another model, whose column holds its name', async () => {
    const models = mkdtempSync(join(tmpdir(), 'pgembedder-models-'));
    try {
      // A model that has everything but weights: only the fake embedder can run it.
      mkdirSync(join(models, 'test/plain/onnx'), { recursive: true });
      for (const file of ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
        cpSync(
          join(bundledModelsDirectory, 'pgembedder/all-MiniLM-L6-v2', file),
          join(models, 'test/plain', file),
        );
      writeFileSync(join(models, 'test/plain/onnx/model.onnx'), '');
      await create();
      await work();
      await expect(alter(`model => 'test/plain'`)).rejects.toMatchObject({ code: '42704' });
      expect(await alter(`model => 'test/plain', options => '{"dimensions": 384}'`)).toBe('next generation');
      // A worker without it goes on with the live one, and says what it lacks.
      await change();
      const { failing } = await work();
      expect(failing).toHaveLength(1);
      await expectVectors('doc_with_embedding', 'body');
      expect(await status()).toMatchObject({
        state: 'live',
        error: null,
        next_model: 'test/plain',
        next_state: expect.stringMatching(/test\/plain/),
      });
      await expect(cutover()).rejects.toMatchObject({ code: '55000' });
      expect((await drain(database, { embedder: new FakeEmbedder([models]) })).failing).toEqual([]);
      await cutover();
      expect(await status()).toMatchObject({ model: 'test/plain', state: 'live', embedded_rows: '19' });
      await expectVectors('doc_with_embedding', 'body');
      expect((await database.query('select distinct model from doc_embedding')).rows).toEqual([
        { model: 'test/plain' },
      ]);
    } finally {
      rmSync(models, { recursive: true });
    }
  });

  it('is not cut over before it is filled, nor where there is none', async () => {
    await create();
    await expect(cutover()).rejects.toMatchObject({
      code: '55000',
      hint: expect.stringMatching(/alter_pipeline/),
    });
    await work();
    await alter(`input => 'title'`);
    await expect(cutover()).rejects.toMatchObject({
      code: '55000',
      message: expect.stringMatching(/not filled/),
    });
    await expectVectors('doc_with_embedding', 'body');
    await work();
    await cutover();
    await expectVectors('doc_with_embedding', 'title');
    await expect(database.query(`select embedder.drop_next_generation('doc')`)).rejects.toMatchObject({
      code: '55000',
    });
  });

  it('altered again, another one takes its place', async () => {
    await create();
    await work();
    await alter(`input => 'title'`);
    await work();
    await alter(`options => '{"dimensions": 100}'`);
    expect(await generations()).toEqual([
      { generation: 1, live: true },
      { generation: 3, live: false },
    ]);
    expect(await status()).toMatchObject({ next_state: 'filling' });
    await change();
    await work();
    await expectVectors('doc_embedding_3', 'body', 'embedding', 100);
    await cutover();
    await expectVectors('doc_with_embedding', 'body', 'embedding', 100);
    await alter(`input => 'title'`);
    await work();
    await cutover(', drop_old => false');
    await expectVectors('doc_with_embedding', 'title', 'embedding', 100);
    await expectVectors('doc_embedding_3', 'body', 'embedding', 100);
  });

  it('of a paused pipeline is paused with it', async () => {
    await create();
    await work();
    await database.query(`select embedder.pause_pipeline('doc')`);
    await alter(`input => 'title'`);
    expect(await work()).toMatchObject({ embedded: 0, failing: [] });
    await database.query(`select embedder.resume_pipeline('doc')`);
    await work();
    await cutover();
    await expectVectors('doc_with_embedding', 'title');
    expect(await status()).toMatchObject({ state: 'live' });
  });

  it('is given up by drop_next_generation, and goes with the pipeline', async () => {
    await create();
    await work();
    await alter(`input => 'title'`);
    await database.query(`select embedder.drop_next_generation('doc')`);
    expect(await exists('doc_embedding_2')).toBe(false);
    await change();
    await work();
    await expectVectors('doc_embedding', 'body');
    expect(await status()).toMatchObject({ generation: 1, next_generation: null });
    await alter(`input => 'title'`);
    await database.query(`select embedder.drop_pipeline('doc')`);
    expect([await exists('doc_embedding'), await exists('doc_embedding_2')]).toEqual([true, false]);
    const { rows } = await database.query<{ n: number }>(
      `select ((select count(*) from embedder.pipeline) + (select count(*) from pg_trigger where tgname ~ '^embedder_')
        + (select count(*) from pg_proc where pronamespace = 'embedder'::regnamespace and proname ~ '^pipeline_\\d') + (select count(*) from embedder.tally))::int as n`,
    );
    expect(rows).toEqual([{ n: 0 }]);
    expect(await jobCount(database)).toBe(0);
  });

  it('gets its share of enqueue_embed and backfill --force', async () => {
    await create();
    await work();
    await alter(`input => 'title'`);
    await work();
    await database.query(`select embedder.enqueue_embed('doc', 3)`);
    expect(await queued(database, 'doc')).toEqual(['3', '3']);
    const before = embedder.calls.length;
    await work();
    expect(embedder.calls.slice(before).flat().sort()).toEqual(['body 3', 'title 3']);
  });
});

describe('a cutover', () => {
  it('keeps what stands on the view, and the old target where it is told to', async () => {
    await create();
    await work();
    await database.query(
      'create view mine as select id, body, embedding from doc_with_embedding where id < 10',
    );
    await alter(`input => 'title'`);
    await work();
    await cutover(', drop_old => false');
    await expectVectors('mine', 'case when id < 10 then title end');
    await expectVectors('doc_embedding_1', 'body');
    expect(await columns('mine')).toEqual(['id', 'body', 'embedding']);
    await change();
    await work();
    await expectVectors('mine', 'case when id < 10 then title end');
    // Nobody keeps the old one in step any more.
    expect((await database.query('select from doc_embedding_1 where id in (21, 80)')).rowCount).toBe(0);
  });

  it('to other dimensions keeps what stands on the view, to another type where nothing does', async () => {
    await create();
    await work();
    await database.query('create view mine as select id, embedding from doc_with_embedding');
    await alter(`options => '{"dimensions": 32}'`);
    await work();
    await cutover();
    await expectVectors('mine', 'body', 'embedding', 32);
    await database.query('drop view mine');
    await alter(`options => '{"dimensions": 64, "vector_type": "halfvec"}'`);
    await work();
    await cutover();
    const { rows } = await database.query(
      `select format_type(atttypid, atttypmod) as type from pg_attribute where attrelid = 'doc_embedding'::regclass and attname = 'embedding'`,
    );
    expect(rows).toEqual([{ type: 'halfvec(64)' }]);
    await expectVectors('doc_with_embedding', 'body', 'embedding', 64);
  });

  it('that would break what stands on the view says so and changes nothing', async () => {
    await create();
    await work();
    await database.query('create view mine as select id, embedding from doc_with_embedding');
    await alter(`options => '{"vector_type": "halfvec"}'`);
    await work();
    const attempt = cutover();
    await attempt.catch((error: { code: string; hint: string }) => {
      expect(error.code).toBe('2BP01');
      expect(error.hint).toMatch(/Drop what stands on it/);
    });
    await expect(attempt).rejects.toThrow(/needs other columns/);
    await expectVectors('mine', 'body');
    expect(await generations()).toHaveLength(2);
    await database.query('drop view mine');
    await cutover();
    await expectVectors('doc_with_embedding', 'body');
  });

  it('to chunks keeps what stands on the view', async () => {
    await create();
    await work();
    await database.query('create view mine as select id, embedding from doc_with_embedding');
    await alter(`chunking => '{"strategy": "tokens"}'`);
    await work();
    await cutover();
    await expectVectors('mine', 'body');
    expect((await columns('doc_with_embedding')).slice(-3)).toEqual(['chunk_start', 'chunk_end', 'heading']);
  });

  it('of a column target', async () => {
    await create(`, target_column => 'e'`);
    await work();
    await database.query('create view mine as select id, title, e from doc_with_embedding');
    await alter(`input => 'title'`);
    expect(await columns('doc')).toEqual([
      'id',
      'title',
      'body',
      'lang',
      'e',
      'source_hash_of_e',
      'e_2',
      'source_hash_of_e_2',
    ]);
    await change();
    await work();
    await expectVectors('doc', 'body', 'e');
    await expectVectors('doc', 'title', 'e_2');
    await cutover(', drop_old => false');
    expect(await columns('doc')).toEqual([
      'id',
      'title',
      'body',
      'lang',
      'e_1',
      'source_hash_of_e_1',
      'e',
      'source_hash_of_e',
    ]);
    await expectVectors('doc', 'title', 'e');
    await expectVectors('mine', 'title', 'e');
    expect(await columns('doc_with_embedding')).toEqual([
      'id',
      'title',
      'body',
      'lang',
      'e',
      'e_1',
      'source_hash_of_e_1',
    ]);
    await database.query(`update doc set title = 'again' where id = 1`);
    await work();
    await expectVectors('doc', 'title', 'e');
    expect(await status()).toMatchObject({ target_column: 'e', source_rows: '20', embedded_rows: '20' });
    await alter(`options => '{"dimensions": 8}'`);
    await work();
    await cutover();
    expect(await columns('doc')).toEqual([
      'id',
      'title',
      'body',
      'lang',
      'e_1',
      'source_hash_of_e_1',
      'e',
      'source_hash_of_e',
    ]);
    await expectVectors('doc', 'title', 'e', 8);
    await expectVectors('doc_with_embedding', 'title', 'e', 8);
  });

  it('from a column to a sidecar, and to a table of another name', async () => {
    await create(`, target_column => 'e'`);
    await work();
    await alter(`target_table => 'doc_vectors'`);
    await work();
    await cutover();
    expect(await columns('doc')).toEqual(['id', 'title', 'body', 'lang']);
    await expectVectors('doc_vectors', 'body');
    await expectVectors('doc_with_embedding', 'body');
    await alter(`target_column => 'f'`);
    await work();
    await cutover();
    await expectVectors('doc', 'body', 'f');
    expect(await exists('doc_vectors')).toBe(false);
    expect(await status()).toMatchObject({ target_table: 'doc', target_column: 'f', embedded_rows: '20' });
  });

  it('to another task has a view of another name, and leaves no view of the user to its fate', async () => {
    const models = tinyModelsFolder();
    const options = { embedder: new FakeEmbedder([models]) };
    try {
      await create();
      await work();
      await database.query('create view mine as select id, embedding from doc_with_embedding');
      await alter(`task => 'text-classification', model => 'pgembedder/tiny-random-multilabel'`);
      expect((await drain(database, options)).failing).toEqual([]);
      await expect(cutover()).rejects.toMatchObject({ code: '2BP01' });
      await expectVectors('mine', 'body');
      await database.query('drop view mine');
      await cutover();
      expect([await exists('doc_with_embedding'), await exists('doc_with_label')]).toEqual([false, true]);
      await change();
      await drain(database, options);
      const { rows } = await database.query(
        'select count(*)::int as n, array_agg(distinct label order by label) as labels from doc_with_label',
      );
      expect(rows).toEqual([{ n: 19, labels: ['body', 'changed', 'row'] }]);
    } finally {
      rmSync(models, { recursive: true });
    }
  });

  it('and new columns of the source leave what stands on the view alone', async () => {
    await create();
    await work();
    await database.query(`create view mine as select id, embedding from doc_with_embedding;
      alter table doc add column extra text default 'x'; update doc set body = 'n' where id = 1`);
    expect((await work()).failing).toEqual([]);
    expect((await columns('doc_with_embedding')).at(-1)).toBe('extra');
    await alter(`input => 'title'`);
    await work();
    await cutover();
    await expectVectors('mine', 'title');
    const { rows } = await database.query('select distinct extra, lang from doc_with_embedding');
    expect(rows).toEqual([{ extra: 'x', lang: 'en' }]);
  });

  it('while a worker has rows of both in hand', async () => {
    await create();
    await work();
    await alter(`input => 'title'`);
    await work();
    await database.query(`update doc set body = 'n' || id, title = 'm' || id`);
    embedder.hold();
    const call = embedder.nextCall();
    const worker = await startWorker();
    await call;
    await cutover();
    embedder.release();
    await pollUntil(async () => (await jobCount(database)) === 0, { what: 'an empty queue' });
    await expectVectors('doc_with_embedding', 'title');
    await worker.stop();
    expect(await status()).toMatchObject({ state: 'live', error: null, embedded_rows: '20' });
    expect((await database.query('select from embedder.failed_job')).rowCount).toBe(0);
  });

  it('waits for an open transaction, whose rows the new generation has', async () => {
    await create();
    await work();
    await alter(`input => 'title'`);
    await work();
    const holder = await database.pool.connect();
    try {
      await holder.query('begin');
      await holder.query(`insert into doc values (60, 'sixty', 'b60'); delete from doc where id = 1`);
      await expect(
        database.query(`set lock_timeout = '200ms'; select embedder.cutover('doc')`),
      ).rejects.toMatchObject({ code: '55P03' });
      await database.query('reset lock_timeout');
      expect(await generations()).toHaveLength(2);
      const waiting = cutover();
      await pollUntil(
        async () =>
          (
            await database.query(
              `select from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'cutover'`,
            )
          ).rowCount === 1,
      );
      await holder.query('commit');
      await waiting;
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    await work();
    await expectVectors('doc_with_embedding', 'title');
  });
});

describe('auto_cutover', () => {
  it('is done by a worker when the index is there', async () => {
    await create();
    await work();
    await alter(`input => 'title', index => 'hnsw', auto_cutover => true`);
    await change();
    await work();
    expect(await generations()).toEqual([{ generation: 2, live: true }]);
    await expectVectors('doc_with_embedding', 'title');
    expect(await status()).toMatchObject({ index_state: 'built', next_generation: null });
    const { rows } = await database.query(
      `select from pg_index x join pg_class c on c.oid = indexrelid join pg_am a on a.oid = c.relam
       where indrelid = 'doc_embedding'::regclass and indisvalid and amname = 'hnsw'`,
    );
    expect(rows).toHaveLength(1);
  });

  it('that cannot be done says so, and leaves it to a person', async () => {
    await create();
    await work();
    await database.query('create view mine as select id, embedding from doc_with_embedding');
    await alter(`options => '{"vector_type": "halfvec"}', auto_cutover => true`);
    await work();
    expect(await status()).toMatchObject({
      generation: 1,
      error: null,
      next_state: expect.stringMatching(
        /^it could not be made live: view .* needs other columns.* select embedder\.cutover\('doc'\)$/,
      ),
    });
    await expectVectors('mine', 'body');
    await database.query('drop view mine');
    await cutover();
    expect(await status()).toMatchObject({ generation: 2, state: 'live', next_state: null });
  });

  it('is tried again where an open transaction has kept it from the table', async () => {
    await create();
    await work();
    await alter(`input => 'title'`);
    await work();
    const worker = await startWorker();
    const holder = await database.pool.connect();
    try {
      await holder.query('begin; update doc set lang = lang where id = 1');
      await once(worker.events, 'idle');
      await database.query(
        `update embedder.pipeline set cutover = 'auto' where not live; select pg_notify('embedder_job', 'pipeline')`,
      );
      // It has tried and given up once.
      const trying = () =>
        database.query(
          `select from pg_stat_activity where wait_event_type = 'Lock' and query ~ 'auto_cutover' and datname = current_database()`,
        );
      await pollUntil(async () => (await trying()).rowCount === 1);
      await pollUntil(async () => (await trying()).rowCount === 0);
      expect(await generations()).toHaveLength(2);
      await holder.query('commit');
    } finally {
      await holder.query('rollback');
      holder.release();
    }
    await pollUntil(async () => (await generations()).length === 1, { what: 'the cutover' });
    await expectVectors('doc_with_embedding', 'title');
  });
});

describe('kill -9', () => {
  it('in the middle of a generation: the next worker fills it and cuts over', async () => {
    const reference = openReference();
    await database.query(
      `insert into doc select i, 'title ' || i, 'body ' || i from generate_series(21, 800) i`,
    );
    await create();
    await work();
    await alter(`input => 'title', auto_cutover => true`);
    const start = async () => {
      const started = await startWorkerProcess({
        connection: database.url,
        engine: { engines: 1, threads: 1 },
        window: 64,
      });
      processes.push(started);
      return started;
    };
    const victim = await start();
    await once(victim.events, 'completed');
    victim.child.kill('SIGKILL');
    await victim.exited;
    expect(await generations()).toHaveLength(2);
    await expectVectors('doc_with_embedding', 'body');
    await database.query(`update embedder.worker_process set beat_at = now() - interval '1 hour';
      update doc set title = 'changed' where id = 700; delete from doc where id = 1`);
    await start();
    await pollUntil(async () => (await generations()).length === 1, {
      what: 'the cutover',
      deadline: 60_000,
    });
    const { rows } = await database.query(
      'select count(*)::int as n, count(distinct id)::int as ids from doc_embedding',
    );
    expect(rows).toEqual([{ n: 799, ids: 799 }]);
    const ids = [2, 100, 333, 700, 800];
    const texts = ids.map((id) => (id === 700 ? 'changed' : `title ${id}`));
    const vectors = await reference.embed(texts);
    await reference.close();
    expect(
      wrongKeys(
        await readVectors(database, `select id, embedding from doc_embedding where id in (${ids.join()})`),
        new Map(ids.map((id, i) => [String(id), vectors[i]!])),
        0.985,
      ),
    ).toEqual([]);
  }, 120_000);
});
