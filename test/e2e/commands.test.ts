import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { isPlain, run, runJson } from './cli.ts';

let database: TestDatabase;
let env: Record<string, string>;

beforeAll(async () => {
  database = await createDatabase();
  env = { DATABASE_URL: database.url };
  // pgvector where no search path leads to it.
  await database.query('create schema extensions');
  await database.query('create extension vector schema extensions');
  await database.query('create table articles (id bigint primary key, title text, body text)');
  await database.query(`insert into articles values
    (9007199254740993, 'Bread', 'How to bake sourdough bread at home'), (2, 'Cats', 'Why cats sleep all day'),
    (3, 'Space', 'A rocket on its way to Mars')`);
});
afterAll(() => database.drop());

describe('from an empty database to a search', () => {
  it('says what to do before migrate', async () => {
    const { code, stderr } = await run(['status'], { env });
    expect(code).toBe(1);
    expect(stderr).toMatch(/^pgembedder: .*pgembedder migrate\n$/);
    const doctor = await run(['doctor'], { env });
    expect(doctor.code).toBe(1);
    expect(doctor.stdout).toMatch(/fail {2}schema.*\n.*pgembedder migrate/);
  });

  it('migrates, once', async () => {
    const first = await runJson<{ migrations: string[]; functions: string[] }>(['migrate'], { env });
    expect(first.migrations).toContain('migrations/0001_tables.sql');
    expect(first.functions.length).toBeGreaterThan(0);
    const { stdout } = await run(['migrate'], { env });
    expect(stdout).toBe('up to date\n');
  });

  it('creates a pipeline', async () => {
    const created = await runJson(['pipeline', 'create', 'articles', '{title}\\n{body}', '--name', 'texts'], {
      env,
    });
    expect(created).toMatchObject({ pipeline: 'texts', dimensions: 384, rows: 3 });
    const again = await run(['pipeline', 'create', 'articles', 'body', '--name', 'texts'], { env });
    expect(again.code).toBe(1);
    expect(again.stderr).toMatch(/^pgembedder: pipeline "texts" exists already\. .+\n$/);
    const listed = await runJson<object[]>(['pipeline', 'list'], { env });
    expect(listed).toMatchObject([
      { name: 'texts', source: 'articles', input: '{title}\\n{body}', index: 'hnsw' },
    ]);
  });

  it('knows the models of the catalog, and takes the model that the settings name', async () => {
    const { rows } = await database.query<{ task: string; some: string }>(
      `select task, min(name) as some, bool_and((dimensions is null) = (task <> 'feature-extraction')) as right
        from embedder.model group by task order by task`,
    );
    expect(rows).toEqual([
      { task: 'feature-extraction', some: expect.any(String), right: true },
      { task: 'text-classification', some: expect.any(String), right: true },
      { task: 'text-ranking', some: expect.any(String), right: true },
      { task: 'token-classification', some: 'Xenova/bert-base-NER', right: true },
      { task: 'zero-shot-classification', some: 'Xenova/nli-deberta-v3-xsmall', right: true },
    ]);
    const settings = {
      ...env,
      PGEMBEDDER_MODEL_FEATURE_EXTRACTION: 'Xenova/bge-base-en-v1.5',
      PGEMBEDDER_MODEL_TOKEN_CLASSIFICATION: 'Xenova/bert-base-NER',
    };
    const create = ['pipeline', 'create', 'articles', 'body', '--name', 'other', '--no-enqueue-existing'];
    expect(await runJson(create, { env: settings })).toMatchObject({
      model: 'Xenova/bge-base-en-v1.5',
      dimensions: 768,
    });
    await run(['pipeline', 'drop', 'other', '--drop-target'], { env });
    expect(await runJson([...create, '--task', 'token-classification'], { env: settings })).toMatchObject({
      model: 'Xenova/bert-base-NER',
      dimensions: null,
    });
    await run(['pipeline', 'drop', 'other', '--drop-target'], { env });
    // A variant that is pinned and not here is the pipeline's error, and says what to do.
    const pinned = { ...env, PGEMBEDDER_MODEL_FEATURE_EXTRACTION: 'all-MiniLM-L6-v2:fp32' };
    const worked = await run(['work', '--once', '--json'], { env: pinned });
    expect(JSON.parse(worked.stdout)).toMatchObject({
      failing: [{ pipeline: 'texts', error: expect.stringMatching(/is not here as fp32.+--variant fp32/) }],
    });
  });

  it('works once, and reports', async () => {
    const { code, stdout, stderr } = await run(['work', '--once', '--json'], { env });
    expect(code).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({ embedded: 3, emptied: 0, dead: 0, failing: [] });
    const log = stderr
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { msg: string });
    expect(log.map(({ msg }) => msg)).toContain('worker stopped');
    expect(stderr).not.toContain('sourdough');
  });

  it('shows the status', async () => {
    const rows = await runJson<object[]>(['status'], { env });
    expect(rows).toMatchObject([
      {
        pipeline: 'texts',
        state: 'live',
        source_rows: 3,
        embedded_rows: 3,
        coverage: 1,
        pending: 0,
        failed: 0,
      },
    ]);
    const { stdout } = await run(['status'], { env });
    expect(isPlain(stdout)).toBe(true);
    expect(stdout).toMatch(/texts +live +3 +3 .* 100\.0 %/);
    const coloured = await run(['status'], { env: { ...env, FORCE_COLOR: '1' } });
    expect(isPlain(coloured.stdout)).toBe(false);
  });

  it('searches', async () => {
    const matches = await runJson<object[]>(['search', 'texts', 'baking a loaf', '-k', '2'], { env });
    // A bigint beyond 2^53 comes as text: a number would have lost its last digit.
    expect(matches[0]).toMatchObject({
      key: { id: '9007199254740993' },
      input: 'Bread\nHow to bake sourdough bread at home',
    });
    expect(matches).toHaveLength(2);
    const { stdout } = await run(['search', 'texts', 'a pet'], { env });
    expect(stdout.split('\n')[1]).toMatch(/^ +0\.\d{3} +2 +Cats Why cats sleep all day$/);
    const { code, stderr } = await run(['search', 'text', 'a pet'], { env });
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'pgembedder: there is no pipeline "text". Did you mean "texts"? There are: texts\n',
    });
  });

  it('is well, says the doctor', async () => {
    const checks = await runJson<{ name: string; state: string }[]>(['doctor'], { env });
    expect(checks.filter(({ state }) => state === 'fail')).toEqual([]);
    const names = [
      'database',
      'PostgreSQL',
      'pgvector',
      'schema',
      'rights',
      'LISTEN',
      'pipeline',
      'model',
      'engine',
    ];
    expect(checks.map(({ name }) => name)).toEqual(expect.arrayContaining(names));
    expect(checks).toContainEqual(expect.objectContaining({ name: 'worker', state: 'warn' }));
  });
});

describe('one pipeline', () => {
  it('is paused, and resumed', async () => {
    await run(['pipeline', 'pause', 'texts'], { env });
    await database.query("insert into articles values (4, 'Rain', 'Why it rains')");
    expect(await runJson(['work', '--once'], { env })).toMatchObject({ embedded: 0 });
    const { stdout } = await run(['pipeline', 'resume', 'texts'], { env });
    expect(stdout).toBe('pipeline texts resumed; 1 row on the queue\n');
    expect(await runJson(['work', '--once'], { env })).toMatchObject({ embedded: 1 });
  });

  it('brings dead letters back', async () => {
    await database.query(`insert into embedder.dead_letter (pipeline_id, row_key, attempts, error)
      select id, '2', 5, 'a test' from embedder.pipeline`);
    expect((await run(['doctor'], { env })).stdout).toMatch(/1 dead letter .*\n.*pgembedder retry texts/);
    expect(await runJson(['retry', 'texts'], { env })).toEqual({ retried: 1 });
    expect(await runJson(['retry'], { env })).toEqual({ retried: 0 });
    expect((await run(['retry', 'nope'], { env })).code).toBe(1);
  });

  it('shows its error, and work --once exits with 1', async () => {
    await database.query('alter table articles drop column title');
    const { code, stdout } = await run(['work', '--once'], { env });
    expect(code).toBe(1);
    expect(stdout).toContain('pipeline texts does not work: ');
    const status = await run(['status'], { env });
    expect(status.stdout).toMatch(/texts +error .*\n {2}.*title/);
    const doctor = await run(['doctor'], { env });
    expect(doctor.code).toBe(1);
    expect(doctor.stdout).toMatch(/fail {2}pipeline +texts: .*title/);
  });

  it('is dropped with its target', async () => {
    expect(await runJson(['pipeline', 'drop', 'texts', '--drop-target'], { env })).toEqual({
      pipeline: 'texts',
    });
    const { rows } = await database.query(
      "select to_regclass('articles_embedding') as sidecar, to_regclass('texts_embedding') as named",
    );
    expect(rows).toEqual([{ sidecar: null, named: null }]);
    expect(await runJson(['status'], { env })).toEqual([]);
  });
});

describe('names that need quotes', () => {
  it('are searched by a key of several columns', async () => {
    await database.query(
      `create table "Mixed ""Case" ("The Day" date, "n°" int, "Text" text, primary key ("n°", "The Day"))`,
    );
    await database.query(
      `insert into "Mixed ""Case" values ('2024-02-29', 1, 'a leap year'), ('2024-03-01', 2, 'spring begins')`,
    );
    await runJson(['pipeline', 'create', '"Mixed ""Case"', 'Text', '--target-column', 'Vec tor'], { env });
    await runJson(['work', '--once'], { env });
    const matches = await runJson<object[]>(['search', 'Mixed "Case', 'leap day', '-k', '1'], { env });
    expect(matches).toMatchObject([{ key: { 'n°': 1, 'The Day': '2024-02-29' }, input: 'a leap year' }]);
  });
});
