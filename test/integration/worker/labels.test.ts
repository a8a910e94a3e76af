import { once } from 'node:events';
import { cpSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { Embedder } from '../../../src/inference/embedder.ts';
import { Engine } from '../../../src/inference/engine/engine.ts';
import type { LabelOptions } from '../../../src/inference/text-embedder.ts';
import type { LabelModel } from '../../../src/model-files/description.ts';
import { createModelStore } from '../../../src/models/store.ts';
import type { LabelResult } from '../../../src/tasks/results.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import {
  createMigratedDatabase,
  type MigratedDatabase,
  openReference,
  readVectors,
  silent,
  workerOn,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { tinyModelsFolder } from '../../support/tiny-models.ts';

const MULTILABEL = 'pgembedder/tiny-random-multilabel';
const NLI = 'pgembedder/tiny-random-nli';
const NER = 'pgembedder/tiny-random-ner';
const TEXTS = ['woolly monkeys', '東京 is in Japan 🗼, said Zoë', 'a cup of tea, please'];

let database: MigratedDatabase;
let folder: string;
let engine: Engine;
let reference: Embedder;
const workers: Worker[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query('create extension if not exists dblink');
  folder = tinyModelsFolder();
  engine = new Engine({ logger: silent });
  reference = new Embedder({ engine });
});
afterAll(async () => {
  await engine.stop();
  await database.drop();
  rmSync(folder, { recursive: true });
});
beforeEach(async () => {
  await database.query('create table doc (id int primary key, body text)');
  await database.query('insert into doc select i, t from unnest($1::text[]) with ordinality u(t, i)', [
    TEXTS,
  ]);
});
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop()));
  await database.query(`select embedder.drop_pipeline(name, drop_target => true) from embedder.pipeline where live;
    drop table if exists doc cascade`);
});

const create = (task: string, model: string, options: object = {}, rest = '') =>
  database.query(
    `select embedder.create_pipeline('doc', 'body', task => $1, model => $2, options => $3${rest})`,
    [task, model, options],
  );
const work = (directories = [folder]) => workerOn(database, { modelDirectories: directories }).drain();
const status = async (name = 'doc') =>
  (await database.query<Record<string, unknown>>('select * from embedder.status where pipeline = $1', [name]))
    .rows[0]!;

interface Labelled {
  id: number;
  label: string | null;
  score: number | null;
  detail: Record<string, number> | { score: number; word: string; start: number; end: number }[] | null;
}
const results = async (from = 'doc_label', prefix = '') =>
  (
    await database.query<Labelled>(
      `select id, ${prefix || 'label'} as label, ${prefix ? `${prefix}_score` : 'score'} as score, ${prefix ? `${prefix}_detail` : 'detail'} as detail
       from ${from} order by id`,
    )
  ).rows;

/** What the engine gives for texts when it is asked directly. */
async function wanted(
  task: LabelModel['task'],
  model: string,
  options: LabelOptions,
  texts = TEXTS,
): Promise<LabelResult[]> {
  const described = createModelStore({ directories: [folder] }).find(model, task) as LabelModel;
  const found: LabelResult[] = [];
  for (const text of texts) {
    const [result] = await reference.labelTexts(described, [text], options);
    if (result instanceof Error) throw result;
    found.push(result!);
  }
  return found;
}

/** The same but for the last digits of scores, which the neighbours in a batch have a little influence on. */
function rounded(value: unknown): unknown {
  return JSON.parse(
    JSON.stringify(value, (_, each: unknown) => (typeof each === 'number' ? Number(each.toFixed(3)) : each)),
  );
}

/** jsonb sorts the keys of an object; the order of scores is that of the numbers. */
function expectResults(found: readonly Labelled[], expected: readonly LabelResult[]): void {
  expect(found).toHaveLength(expected.length);
  found.forEach(({ label, score, detail }, i) => {
    expect(rounded({ label, score, detail })).toEqual(rounded(expected[i]));
  });
}

const LABELS = ['food, drink', 'animals', 'cities; countries'];
describe.each<[task: LabelModel['task'], model: string, options: LabelOptions]>([
  ['text-classification', MULTILABEL, {}],
  ['text-classification', MULTILABEL, { top_k: 2 }],
  ['text-classification', MULTILABEL, { multi_label: true }],
  ['zero-shot-classification', NLI, { labels: LABELS }],
  [
    'zero-shot-classification',
    NLI,
    { labels: LABELS, multi_label: true, hypothesis_template: 'It is {}.', top_k: 2 },
  ],
  ['token-classification', NER, {}],
  ['token-classification', NER, { aggregation_strategy: 'none' }],
  ['token-classification', NER, { aggregation_strategy: 'max' }],
])('%s of %s with %j', (task, model, options) => {
  it('writes a sidecar, and follows the texts', async () => {
    await create(task, model, options);
    expect(await work()).toMatchObject({ embedded: 3, failing: [] });
    expectResults(await results(), await wanted(task, model, options));
    const { rows } = await database.query<{ columns: string[] }>(
      `select array_agg(attname::text order by attnum) as columns from pg_attribute where attrelid = 'doc_label'::regclass and attnum > 0`,
    );
    expect(rows[0]!.columns).toEqual([
      'id',
      'chunk',
      'chunk_text',
      'label',
      'score',
      'detail',
      'model',
      'source_hash',
      'embedded_at',
    ]);
    expect(await status()).toMatchObject({
      state: 'live',
      embedded_rows: '3',
      index: 'none',
      index_state: 'none',
    });
    await database.query(`update doc set body = 'other text' where id = 1; update doc set body = null where id = 2;
      update doc set body = '  ' where id = 3; insert into doc values (4, 'one more')`);
    expect(await work()).toMatchObject({ embedded: 2, emptied: 2 });
    const after = await results('doc_with_label');
    expect(after.map(({ id }) => id)).toEqual([1, 4]);
    expectResults(after, await wanted(task, model, options, ['other text', 'one more']));
  });

  it('writes columns', async () => {
    await create(task, model, options, `, target_column => 'tag'`);
    expect(await work()).toMatchObject({ embedded: 3, failing: [] });
    expectResults(await results('doc', 'tag'), await wanted(task, model, options));
    await database.query(`update doc set body = null where id = 2`);
    expect(await work()).toMatchObject({ embedded: 0, emptied: 1 });
    expect((await results('doc', 'tag'))[1]).toEqual({ id: 2, label: null, score: null, detail: null });
    expect(await results('doc_with_label', 'tag')).toHaveLength(2);
    expect(await status()).toMatchObject({ source_rows: '3', embedded_rows: '2' });
  });
});

it('a model that gives vectors finds the nearest of several labels, with no vectors in the target', async () => {
  const labels = ['animals', 'cities', 'food, drink'];
  await create('zero-shot-classification', 'all-MiniLM-L6-v2', { labels, top_k: 2 });
  expect(await work([])).toMatchObject({ embedded: 3, failing: [] });
  const found = await results('doc_with_label');
  expect(found.map(({ label }) => label)).toEqual(['animals', 'cities', 'food, drink']);
  for (const { label, score, detail } of found) {
    expect(Object.keys(detail!)).toHaveLength(2);
    expect((detail as Record<string, number>)[label!]).toBeCloseTo(score!, 5);
  }
  expect(
    (
      await database.query(
        `select from pg_attribute where attrelid = 'doc_label'::regclass and attname = 'embedding'`,
      )
    ).rowCount,
  ).toBe(0);
  // The same model with vectors beside, in the same session.
  await database.query(`select embedder.create_pipeline('doc', 'body', name => 'vectors')`);
  expect(await work([])).toMatchObject({ embedded: 3, failing: [] });
  expect((await database.query('select from doc join vectors_embedding using (id)')).rowCount).toBe(3);
});

it('the shapes are those of the description', async () => {
  await create('zero-shot-classification', NLI, { labels: LABELS });
  await database.query(`select embedder.create_pipeline('doc', 'body', name => 'ner', task => 'token-classification', model => '${NER}');
    select embedder.create_pipeline('doc', 'body', name => 'raw', task => 'token-classification', model => '${NER}', options => '{"aggregation_strategy": "none"}');
    select embedder.create_pipeline('doc', 'body', name => 'tone', task => 'text-classification', model => '${MULTILABEL}')`);
  expect((await work()).failing).toEqual([]);
  for (const { label, score, detail } of await results()) {
    const scores = detail as Record<string, number>;
    expect(Object.keys(scores).sort()).toEqual([...LABELS].sort());
    expect(LABELS).toContain(label);
    expect(score).toBeCloseTo(Math.max(...Object.values(scores)), 5);
    expect(Object.values(scores).reduce((sum, each) => sum + each, 0)).toBeCloseTo(1, 3);
  }
  for (const { label, score, detail } of await results('tone_label')) {
    expect(score).toBeCloseTo((detail as Record<string, number>)[label!]!, 5);
  }
  for (const [sidecar, key] of [
    ['ner_label', 'entity_group'],
    ['raw_label', 'entity'],
  ] as const) {
    const found = await results(sidecar);
    expect(found.map(({ label, score }) => [label, score])).toEqual(TEXTS.map(() => [null, null]));
    expect(found.every(({ detail }) => Array.isArray(detail))).toBe(true);
    // Places are PostgreSQL's characters.
    const { rows } = await database.query<{ keys: string[]; word: string; part: string }>(
      `select array(select jsonb_object_keys(e) order by 1) as keys, e ->> 'word' as word,
         lower(substr(body, (e ->> 'start')::int + 1, (e ->> 'end')::int - (e ->> 'start')::int)) as part
       from ${sidecar} join doc using (id), jsonb_array_elements(detail) e where e ->> 'word' ~ '^[a-z]+$'`,
    );
    expect(rows.length).toBeGreaterThan(0);
    for (const { keys, word, part } of rows) {
      expect(keys).toEqual(['end', key, 'score', 'start', 'word'].sort());
      expect(part.normalize('NFD').replace(/\p{M}/gu, '')).toBe(word);
    }
  }
});

describe('a model', () => {
  it('that is not there yet: the pipeline waits, says so, and works when it comes', async () => {
    const mine = mkdtempSync(join(tmpdir(), 'pgembedder-late-'));
    try {
      await create('text-classification', MULTILABEL);
      const { failing } = await work([mine]);
      expect(failing).toMatchObject([
        { pipeline: 'doc', error: expect.stringMatching(/tiny-random-multilabel/) },
      ]);
      expect(await status()).toMatchObject({
        state: 'error',
        error: expect.stringMatching(/tiny-random-multilabel/),
      });
      const worker = workerOn(database, { modelDirectories: [mine] });
      workers.push(worker);
      await worker.start();
      cpSync(join(folder, MULTILABEL), join(mine, MULTILABEL), { recursive: true });
      const completed = once(worker.events, 'completed');
      await database.query(`select embedder.resume_pipeline('doc')`);
      await completed;
      await worker.stop();
      await work([mine]);
      expectResults(await results(), await wanted('text-classification', MULTILABEL, {}));
      expect(await status()).toMatchObject({ state: 'live', error: null });
    } finally {
      rmSync(mine, { recursive: true });
    }
  });

  it('of another task is an error of its pipeline, and the others go on', async () => {
    await create('token-classification', MULTILABEL);
    await database.query(`select embedder.create_pipeline('doc', 'body', name => 'right', task => 'text-classification', model => '${MULTILABEL}');
      select embedder.create_pipeline('doc', 'body', name => 'vectors', index => 'none')`);
    const { failing, embedded } = await work();
    expect(failing).toMatchObject([{ pipeline: 'doc' }]);
    expect(embedded).toBe(6);
    expect(await status()).toMatchObject({
      state: 'error',
      error: expect.stringMatching(
        /tiny-random-multilabel.*token-classification|token-classification.*tiny-random-multilabel/,
      ),
    });
    expect(await status('right')).toMatchObject({ state: 'live', error: null });
    expect(await status('vectors')).toMatchObject({ state: 'live', error: null });
    // Put right by alter_pipeline: it is the next generation that works.
    await database.query(
      `select embedder.alter_pipeline('doc', task => 'text-classification', auto_cutover => true)`,
    );
    await work();
    expect(await status()).toMatchObject({
      state: 'live',
      error: null,
      generation: 2,
      task: 'text-classification',
    });
    expectResults(await results(), await wanted('text-classification', MULTILABEL, {}));
  });

  it('that is known to have another task is refused', async () => {
    await expect(create('text-classification', 'all-MiniLM-L6-v2')).rejects.toMatchObject({
      code: '22023',
      message: 'model "all-MiniLM-L6-v2" is for feature-extraction, not for text-classification',
    });
    await expect(create('zero-shot-classification', NLI)).rejects.toMatchObject({ code: '22023' });
    await expect(create('token-classification', NER, { top_k: 1 })).rejects.toMatchObject({ code: '22023' });
  });
});

it('chunks of a text have a label each', async () => {
  await database.query(`update doc set body = repeat('A sentence about tea and cakes. ', 12) where id = 1`);
  await create(
    'text-classification',
    MULTILABEL,
    {},
    `, chunking => '{"strategy": "recursive", "size": 16, "overlap": 0}'`,
  );
  expect(await work()).toMatchObject({ embedded: 3, failing: [] });
  const { rows } = await database.query<{ chunk_text: string } & Labelled>(
    'select chunk_text, label, score, detail from doc_label order by id, chunk',
  );
  expect(rows.length).toBeGreaterThan(5);
  expectResults(
    rows,
    await wanted(
      'text-classification',
      MULTILABEL,
      {},
      rows.map((row) => row.chunk_text),
    ),
  );
});

describe('shorter vectors', () => {
  it.each([
    ['a sidecar', `, target_table => 'doc_vectors'`, 'select id, embedding from doc_vectors', 'vector'],
    [
      'a halfvec sidecar',
      `, target_table => 'doc_vectors'`,
      'select id, embedding from doc_vectors',
      'halfvec',
    ],
    ['a halfvec column', `, target_column => 'e'`, 'select id, e from doc', 'halfvec'],
  ])('in %s are cut and then of length 1, and are searched so', async (_, rest, query, type) => {
    const full = openReference();
    const vectors = await full.embed(TEXTS);
    const [question] = await full.embed(['monkeys with wool']);
    await full.close();
    const cut = (vector: Float32Array) => {
      const part = vector.slice(0, 96);
      const length = Math.hypot(...part);
      return part.map((each) => each / length);
    };
    await create('feature-extraction', 'all-MiniLM-L6-v2', { dimensions: 96, vector_type: type }, rest);
    const worker = workerOn(database);
    workers.push(worker);
    await worker.start();
    const done = once(worker.events, 'indexed');
    await done;
    const found = await readVectors(database, query);
    expect(
      wrongKeys(found, new Map(TEXTS.map((_text, i) => [String(i + 1), cut(vectors[i]!)])), 0.98),
    ).toEqual([]);
    for (const vector of found.values()) expect(Math.hypot(...vector!)).toBeCloseTo(1, 2);
    expect(await status()).toMatchObject({ index_state: 'built', embedded_rows: '3' });
    const { rows } = await database.query<{ row_key: string; similarity: number; input: string }>(
      `select row_key, similarity, input from embedder.search('doc', 'monkeys with wool', 3)`,
    );
    expect(rows[0]).toMatchObject({ row_key: '1', input: TEXTS[0] });
    const [a, b] = [cut(question!), cut(vectors[0]!)];
    expect(rows[0]!.similarity).toBeCloseTo(
      a.reduce((sum, each, i) => sum + each * b[i]!, 0),
      1,
    );
  });

  it('without scaling, of a model that gives finished vectors only, are an error of the pipeline', async () => {
    await create('feature-extraction', 'all-MiniLM-L6-v2', { dimensions: 10, normalize: false });
    await database.query(`select embedder.create_pipeline('doc', 'body', name => 'right', index => 'none')`);
    const { embedded, failing } = await work();
    expect(embedded).toBe(3);
    expect(failing).toMatchObject([
      { pipeline: 'doc', error: expect.stringMatching(/normalization cannot be changed/) },
    ]);
    expect(await status()).toMatchObject({ state: 'error', embedded_rows: '0' });
  });
});
