import { afterAll, beforeAll, expect, it } from 'vitest';
import { checkPipelines, openDatabase } from '../../src/index.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { tinyModelsFolder } from '../support/tiny-models.ts';
import { run, runJson } from './cli.ts';

let database: TestDatabase;
let env: Record<string, string>;

beforeAll(async () => {
  database = await createDatabase();
  env = { DATABASE_URL: database.url, PGEMBEDDER_MODELS_DIR: tinyModelsFolder(), PGEMBEDDER_HTTP: 'off' };
  await run(['migrate'], { env });
  await database.query(`create table notes (id int primary key, body text);
    insert into notes select n, 'the note with the number ' || n from generate_series(1, 30) n;
    select embedder.create_pipeline('notes', 'body', index => 'none');
    create table mail (id int primary key, body text); insert into mail values (1, 'you have won'), (2, 'see you soon');
    select embedder.create_pipeline('mail', 'body', task => 'text-classification', model => 'pgembedder/tiny-random-multilabel')`);
  await run(['work', '--once'], { env });
});
afterAll(() => database.drop());

const unseen = (statements: string) =>
  database.query(
    `begin; set local session_replication_role = replica; ${statements}; set local session_replication_role = origin; commit`,
  );

it('finds nothing where nothing is wrong, also when results are computed again', async () => {
  const { code, stdout } = await run(['check', '--deep'], { env });
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: 'ok    mail, 2 rows, a sample computed again\nok    notes, 30 rows, a sample computed again\n',
  });
});

it('says what is wrong, and has it put right', async () => {
  await unseen(`update notes set body = 'other' where id = 3; delete from notes where id = 4; delete from notes_embedding where id = 5;
    update mail set body = 'changed' where id = 1`);
  const found = await run(['check'], { env });
  expect(found.code).toBe(1);
  expect(found.stdout).toBe(
    [
      'fail  mail, 2 rows',
      '      1 stale: 1',
      'fail  notes, 29 rows',
      '      embedder.status counts 30 rows and 30 results, and there are 29 and 29',
      '      1 missing: 5',
      '      1 orphan: 4',
      '      1 stale: 3',
      '',
    ].join('\n'),
  );
  const repaired = await run(['check', 'notes', '--repair'], { env });
  expect(repaired.code).toBe(1);
  expect(repaired.stdout).toContain('What was wrong is queued for 1 pipeline.');
  // Just what is wrong.
  const { rows } = await database.query<{ jobs: string[] }>(
    `select array_agg(j.row_key order by j.row_key) as jobs from embedder.job j join embedder.pipeline p on p.id = j.pipeline_id where p.name = 'notes'`,
  );
  expect(rows[0]!.jobs).toEqual(['3', '5']);
  await run(['work', '--once'], { env });
  expect((await run(['check', 'notes', '--deep'], { env })).code).toBe(0);
  expect((await run(['check'], { env })).code).toBe(1);
  await run(['check', 'mail', '--repair', '--json'], { env });
  await run(['work', '--once'], { env });
  expect((await run(['check'], { env })).code).toBe(0);
});

it('a result that somebody has changed differs from one that is computed again', async () => {
  await unseen(`update notes_embedding set embedding = (select embedding from notes_embedding where id = 30) where id = 7;
    update notes_embedding set embedding = (select ('[' || repeat('0,', 383) || '1]')::vector) where id = 8;
    update mail_label set detail = '{"never": 1}' where id = 2`);
  const { code, stdout } = await run(['check', '--deep', '--json'], { env });
  expect(code).toBe(1);
  const reports = JSON.parse(stdout) as {
    pipeline: string;
    well: boolean;
    differences: { rowKey: string; found: string }[];
  }[];
  expect(reports.map(({ well }) => well)).toEqual([false, false]);
  expect(reports[0]!.differences).toEqual([
    { rowKey: '2', chunk: 0, found: expect.stringMatching(/^it has never, and computed again \w+/) },
  ]);
  expect(reports[1]!.differences.map(({ rowKey }) => rowKey)).toContain('8');
  expect((await run(['check'], { env })).code).toBe(0);
  await database.query(
    `select embedder.backfill('notes', force => true), embedder.backfill('mail', force => true)`,
  );
  await run(['work', '--once'], { env });
});

it('triggers that are disabled or gone are told, and wrong names', async () => {
  await database.query('alter table notes disable trigger user');
  const [report] = await runJson<{ problems: string[] }[]>(['check', 'notes'], { env }).catch(
    (error: Error) => {
      expect(error.message).toContain('exit code 1');
      return run(['check', 'notes', '--json'], { env }).then(
        ({ stdout }) => JSON.parse(stdout) as { problems: string[] }[],
      );
    },
  );
  expect(report!.problems).toEqual([
    expect.stringContaining('triggers of pgembedder on public.notes are disabled'),
  ]);
  await database.query('alter table notes enable trigger user');
  const wrong = await run(['check', 'note'], { env });
  expect(wrong.code).toBe(1);
  expect(wrong.stderr).toContain('there is no pipeline "note"');
  expect(wrong.stderr).toContain('Did you mean "notes"?');
});

it('the library gives the same', async () => {
  const open = openDatabase(database.url);
  try {
    expect(await checkPipelines(open, 'notes')).toEqual([
      { pipeline: 'notes', well: true, problems: [], faults: {}, rows: [], sourceRows: 29 },
    ]);
    await expect(checkPipelines(open, 'nothing')).rejects.toMatchObject({ name: 'UserError' });
  } finally {
    await open.destroy();
  }
});
