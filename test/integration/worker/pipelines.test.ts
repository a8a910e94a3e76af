import { on, once } from 'node:events';
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
  makeDue,
  queueBackfills,
  queued,
  readVectors,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

let database: MigratedDatabase;
let embedder: FakeEmbedder;
let workers: Worker[];
let models: string;

beforeAll(async () => {
  database = await createMigratedDatabase();
  // Models that have everything but weights: only the fake embedder can run them.
  models = mkdtempSync(join(tmpdir(), 'pgembedder-models-'));
  plainModel('test/plain');
});
afterAll(async () => {
  await database.drop();
  rmSync(models, { recursive: true });
});
beforeEach(async () => {
  await database.query(`create table doc (id int primary key, a text, b text, c text);
    insert into doc select i, 'a' || i, 'b' || i, 'c' || i from generate_series(1, 20) i`);
  embedder = new FakeEmbedder([models]);
  workers = [];
});
afterEach(async () => {
  embedder.release();
  await Promise.all(workers.map((worker) => worker.stop()));
  await database.query(`select embedder.drop_pipeline(name) from embedder.pipeline; drop schema public cascade; create schema public;
    create extension if not exists vector`);
});

/** A folder that looks like a model whose vectors are not scaled. */
function plainModel(name: string): void {
  const from = join(bundledModelsDirectory, 'pgembedder/all-MiniLM-L6-v2');
  const to = join(models, name);
  mkdirSync(join(to, 'onnx'), { recursive: true });
  for (const file of ['config.json', 'tokenizer.json', 'tokenizer_config.json'])
    cpSync(join(from, file), join(to, file));
  writeFileSync(join(to, 'onnx/model.onnx'), '');
}

function worker(options: Parameters<typeof workerOn>[1] = {}): Worker {
  const made = workerOn(database, { embedder, ...options });
  workers.push(made);
  return made;
}

const create = async (column: string, rest = '', source = 'doc') => {
  await database.query(
    `select embedder.create_pipeline('${source}', '${column}', name => '${column}', index => 'none'${rest})`,
  );
  await queueBackfills(database, column);
};
const empty = (name: string) =>
  pollUntil(async () => (await queued(database, name)).length === 0, {
    what: `an empty queue of ${name}`,
    deadline: 15_000,
  });
const errorOf = async (name: string) =>
  (
    await database.query<{ state: string; error: string | null }>(
      `select state, error from embedder.status where pipeline = $1`,
      [name],
    )
  ).rows[0];
/** Has the worker read the pipelines again. */
async function reload(of: Worker): Promise<void> {
  const read = once(of.events, 'pipelines');
  await database.query(`select pg_notify('embedder_job', 'pipeline')`);
  await read;
}
/** Resolves when the worker serves just these pipelines. */
async function serves(of: Worker, ...wanted: string[]): Promise<void> {
  for await (const [names] of on(of.events, 'pipelines')) if (String(names) === wanted.join()) return;
}
const idle = (of: Worker) => once(of.events, 'idle');

describe('three pipelines on one table', () => {
  it('do not wake each other: neither by a change of one’s text nor by what is written to another’s column', async () => {
    await create('a', `, target_column => 'a_embedding'`);
    await create('b', `, target_column => 'b_embedding'`);
    await create('c');
    const run = worker();
    const completed: string[] = [];
    let claimed = 0;
    run.events.on('completed', ({ pipeline, embedded }) =>
      completed.push(...Array<string>(embedded).fill(pipeline)),
    );
    run.events.on('claimed', (rows) => {
      claimed += rows;
    });
    await run.start();
    await idle(run);
    // Each row once for each pipeline, though 40 columns were written.
    expect(claimed).toBe(60);
    expect(['a', 'b', 'c'].map((name) => completed.filter((each) => each === name).length)).toEqual([
      20, 20, 20,
    ]);

    completed.length = 0;
    const some = once(run.events, 'claimed');
    await database.query(`update doc set b = b || '!' where id <= 3`);
    await some;
    await idle(run);
    expect(claimed).toBe(63);
    expect(completed).toEqual(['b', 'b', 'b']);
    expect(await jobCount(database)).toBe(0);
    const { rows } = await database.query<{ id: number; a: string; b: string; c: string }>(
      'select id, a, b, c from doc',
    );
    for (const [column, query] of [
      ['a', 'select id, a_embedding from doc'],
      ['b', 'select id, b_embedding from doc'],
      ['c', 'select id, embedding from c_embedding'],
    ] as const) {
      const wanted = new Map(rows.map((row) => [String(row.id), fakeVector(row[column])]));
      expect(wrongKeys(await readVectors(database, query), wanted)).toEqual([]);
    }
  });
});

describe('while the worker runs', () => {
  it('a pipeline is created, paused, resumed and dropped', async () => {
    const run = worker();
    await run.start();
    await idle(run);
    const seen = serves(run, 'a');
    await create('a');
    await seen;
    await empty('a');
    expect((await readVectors(database, 'select id, embedding from a_embedding')).size).toBe(20);

    await database.query(`select embedder.pause_pipeline('a')`);
    await database.query(`update doc set a = 'paused' where id = 1`);
    // Somebody else's jobs are done meanwhile: the worker did look.
    await create('b');
    await empty('b');
    expect(await queued(database, 'a')).toEqual(['1']);
    await database.query(`select embedder.resume_pipeline('a')`);
    await empty('a');
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from a_embedding where id = 1'),
        new Map([['1', fakeVector('paused')]]),
      ),
    ).toEqual([]);

    const dropped = serves(run, 'b');
    await database.query(`select embedder.drop_pipeline('a')`);
    await dropped;
    await database.query(`update doc set a = 'n', b = 'm' where id = 2`);
    await empty('b');
    expect(await jobCount(database)).toBe(0);
  });

  it('one is dropped while its jobs run, and created again under its name', async () => {
    await database.query(
      `insert into doc select i, 'a' || i, 'b' || i, 'c' || i from generate_series(21, 1500) i`,
    );
    await create('a');
    const run = worker();
    const errors: unknown[] = [];
    run.events.on('pipelineError', (error) => errors.push(error));
    embedder.hold();
    const call = embedder.nextCall();
    await run.start();
    // All but one, perhaps: whoever looks whether the pipeline is filled has a job locked for a moment.
    expect((await call).length).toBeGreaterThanOrEqual(1499);
    await database.query(`select embedder.drop_pipeline('a', true)`);
    embedder.release();
    await create('b');
    await empty('b');
    await create('a');
    await empty('a');
    expect((await readVectors(database, 'select id, embedding from a_embedding')).size).toBe(1500);
    await run.stop();
    expect(errors).toEqual([]);
  });

  it('the one of higher priority goes first', async () => {
    await create('a');
    await create('b', ', priority => 5');
    await create('c', ', priority => -1');
    embedder.hold();
    const run = worker({ window: 6 });
    const claims = async () =>
      (
        await database.query<{
          name: string;
          n: number;
        }>(`select p.name, count(*)::int as n from embedder.job j
          join embedder.pipeline p on p.id = j.pipeline_id where leased_by is not null group by 1 order by 1`)
      ).rows;
    await run.start();
    // It holds two windows at most.
    await pollUntil(() => embedder.calls.length === 2);
    expect(await claims()).toEqual([{ name: 'b', n: 12 }]);
    await database.query(
      `delete from embedder.job where leased_by is null and pipeline_id = (select id from embedder.pipeline where name = 'b')`,
    );
    embedder.release();
    embedder.hold();
    await pollUntil(async () => (await claims()).some(({ name }) => name === 'a'));
    expect(await queued(database, 'c')).toHaveLength(20);
    expect((await claims()).map(({ name }) => name)).not.toContain('c');
    embedder.release();
    await empty('c');
    await pollUntil(async () => (await jobCount(database)) === 0);
  });
});

describe('a pipeline that does not work', () => {
  it('for want of a column: says so, keeps its jobs and its neighbours going, and recovers', async () => {
    await create('a');
    await create('b');
    const run = worker();
    const errors: (string | null)[] = [];
    run.events.on('pipelineError', ({ pipeline, error }) => {
      expect(pipeline).toBe('a');
      errors.push(error);
    });
    await run.start();
    await empty('a');
    await empty('b');
    const said = once(run.events, 'pipelineError');
    await database.query(
      `alter table doc drop column a; insert into embedder.job (pipeline_id, row_key) select id, '1' from embedder.pipeline where name = 'a'`,
    );
    await said;
    expect(await errorOf('a')).toEqual({
      state: 'error',
      error: expect.stringMatching(/column "a" of table public\.doc does not exist/),
    });
    await database.query(`update doc set b = 'on and on' where id = 2`);
    await empty('b');
    expect(await queued(database, 'a')).toContain('1');
    // The error may have been found by a look at the tables, before the job is given back.
    await pollUntil(async () => {
      const { rows } = await database.query(`select attempts from embedder.job where row_key = '1'`);
      return rows[0]?.attempts === 0;
    });
    await database.query(
      `alter table doc add column a text; update doc set a = 'mended' where id = 1; select embedder.resume_pipeline('a')`,
    );
    await empty('a');
    await pollUntil(async () => (await errorOf('a'))!.state === 'live');
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from a_embedding where id = 1'),
        new Map([['1', fakeVector('mended')]]),
      ),
    ).toEqual([]);
    expect(errors.filter((error) => error !== null)).toHaveLength(1);
  });

  it('for want of a model: says so, others go on; with the model it works and says so once', async () => {
    await create('a', `, model => 'test/late', options => '{"dimensions": 384}'`);
    await create('b');
    const result = await worker().drain();
    expect(result).toMatchObject({
      embedded: 20,
      failing: [
        {
          pipeline: 'a',
          error: expect.stringMatching(/^Model 'test\/late' is not in .*PGEMBEDDER_MODELS_DIR/),
        },
      ],
    });
    expect(await errorOf('a')).toMatchObject({
      state: 'error',
      error: expect.stringMatching(/^Model 'test\/late' is not in/),
    });
    expect(await errorOf('b')).toMatchObject({ error: null });
    expect(await queued(database, 'a')).toHaveLength(20);
    plainModel('test/late');
    const run = worker({ window: 4 });
    const errors: unknown[] = [];
    run.events.on('pipelineError', (error) => errors.push(error));
    await run.drain();
    expect(await jobCount(database)).toBe(0);
    expect(await errorOf('a')).toMatchObject({ state: 'live', error: null });
    expect(errors).toEqual([{ pipeline: 'a', error: null }]);
  });

  it('since the model gives vectors of another length than its target holds', async () => {
    await create('a', `, model => 'test/plain', options => '{"dimensions": 500}'`);
    await create('b');
    expect(await worker().drain()).toMatchObject({
      embedded: 20,
      failing: [
        {
          pipeline: 'a',
          error: expect.stringMatching(
            /^model test\/plain gives vectors of 384 dimensions, and the target of pipeline "a" holds 500\. /,
          ),
        },
      ],
    });
    expect(await errorOf('a')).toMatchObject({
      state: 'error',
      error: expect.stringMatching(/384 dimensions/),
    });
  });

  it.each([
    ['a', ''],
    ['a', `, target_column => 'e'`],
  ])('since somebody gave its target another type: %s%s', async (name, rest) => {
    await create(name, rest);
    await create('b');
    const target = rest ? 'doc alter column e' : 'a_embedding alter column embedding';
    await database.query(`alter table ${target} type vector(3)`);
    const result = await worker().drain();
    expect(result.embedded).toBe(20);
    expect(result.failing).toEqual([
      {
        pipeline: 'a',
        error: expect.stringMatching(
          /is public\.vector\(3\), and the results of model all-MiniLM-L6-v2 are public\.vector\(384\)/,
        ),
      },
    ]);
    expect(result).toMatchObject({ dead: 0, retried: 0 });
    await database.query(`alter table ${target} type vector(384); select embedder.resume_pipeline('a')`);
    await makeDue(database);
    expect(await worker().drain()).toMatchObject({ embedded: 20, failing: [] });
    expect(await errorOf('a')).toMatchObject({ error: null });
  });

  it('since its sidecar is gone', async () => {
    await create('a');
    await create('b');
    await database.query('drop table a_embedding cascade');
    expect(await worker().drain()).toMatchObject({
      embedded: 20,
      failing: [{ pipeline: 'a', error: expect.stringMatching(/^its sidecar table is gone/) }],
    });
  });

  it('is cleared by whoever does its work, once, and stays cleared', async () => {
    await create('a');
    await database.query(`update embedder.pipeline set error = 'what another worker has written'`);
    const run = worker({ window: 4 });
    const errors: unknown[] = [];
    run.events.on('pipelineError', (error) => errors.push(error));
    await run.start();
    await empty('a');
    await pollUntil(async () => (await errorOf('a'))?.error === null);
    await reload(run);
    // Later as well: what another worker writes after this one has read the pipelines.
    await database.query(`update embedder.pipeline set error = 'once more'`);
    await reload(run);
    await database.query(`update doc set a = 'n'`);
    await empty('a');
    await pollUntil(async () => (await errorOf('a'))?.error === null);
    await reload(run);
    expect(errors.length).toBeGreaterThanOrEqual(2);
    expect(errors).toEqual(errors.map(() => ({ pipeline: 'a', error: null })));
    errors.length = 0;
    await database.query(`update doc set a = 'm'`);
    await empty('a');
    await run.stop();
    expect(errors).toEqual([]);
  });
});

describe('a renamed table', () => {
  it('is nothing wrong, even to a worker that drains once', async () => {
    await create('a');
    await database.query(
      `alter table doc rename to renamed; alter table a_embedding rename to renamed_embedding`,
    );
    expect(await drain(database)).toMatchObject({ embedded: 20, failing: [] });
    expect(await jobCount(database)).toBe(0);
    expect((await readVectors(database, 'select id, embedding from renamed_embedding')).size).toBe(20);
  });

  it('whose name another table has taken is still the one that is read', async () => {
    await create('a');
    await drain(database);
    await database.query(`alter table doc rename to old_doc; create table doc (like old_doc including all);
      insert into doc values (1, 'of the new table'); update old_doc set a = 'of the old table' where id = 1`);
    await drain(database);
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from a_embedding where id = 1'),
        new Map([['1', fakeVector('of the old table')]]),
      ),
    ).toEqual([]);
  });
});

describe('pipelines of one model that differ in an option', () => {
  it('each get what they asked for', async () => {
    const given: [texts: readonly string[], normalize: boolean | undefined][] = [];
    const spy = Object.assign(new FakeEmbedder([models]), {});
    const embedTexts = spy.embedTexts.bind(spy);
    spy.embedTexts = (model, texts, options = {}) => {
      given.push([texts, options.normalize]);
      return embedTexts(model, texts, options);
    };
    await create('a', `, model => 'test/plain', options => '{"dimensions": 384, "normalize": true}'`);
    await create('b', `, model => 'test/plain', options => '{"dimensions": 384}'`);
    await create('c', `, model => 'test/plain', options => '{"dimensions": 384, "prompt": "passage: "}'`);
    await worker({ embedder: spy }).drain();
    const normalized = new Map(
      given.flatMap(([texts, normalize]) => texts.map((text) => [text, normalize ?? false])),
    );
    expect(normalized.size).toBe(60);
    for (const [text, normalize] of normalized)
      expect([text, normalize]).toEqual([text, text.startsWith('a')]);
    expect([...normalized.keys()].filter((text) => text.startsWith('passage: c'))).toHaveLength(20);
  });
});

describe('a job of a transaction that began long ago', () => {
  it('is taken by a worker that has had nothing due since', async () => {
    await create('a');
    const run = worker();
    await run.start();
    await empty('a');
    await database.query(`update doc set a = 'soon'`);
    await empty('a');
    await database.query(
      `begin; update doc set a = 'late'; update embedder.job set due_at = now() - interval '1 hour'; commit`,
    );
    await empty('a');
  });
});

describe('a database that refuses for a while', () => {
  it('does not end the worker', async () => {
    await create('a');
    const run = worker();
    await run.start();
    await empty('a');
    // Counted by a sequence, which no error takes back.
    await database.query(`alter function embedder.claim_jobs(int, int[], int, interval, interval[]) rename to away; create sequence refusals;
      create function embedder.claim_jobs(worker int, pipeline_ids int[], max_jobs int, lease interval, look_back interval[])
        returns table (pipeline_id int, row_key text, version bigint, attempts smallint) language plpgsql as
        $$ begin perform nextval('public.refusals'); raise read_only_sql_transaction; end $$`);
    await database.query(`update doc set a = 'n'`);
    await pollUntil(
      async () =>
        (await database.query(`select from refusals where is_called and last_value >= 2`)).rowCount === 1,
    );
    await database.query(
      `drop function embedder.claim_jobs(int, int[], int, interval, interval[]); alter function embedder.away(int, int[], int, interval, interval[]) rename to claim_jobs`,
    );
    await empty('a');
  });
});
