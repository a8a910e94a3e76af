import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pino } from 'pino';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { EngineError } from '../../src/inference/backend/engine-error.ts';
import { bundledModelsDirectory } from '../../src/models/catalog.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  makeDue,
  openReference,
  queued,
  readVectors,
  workerOn,
  wrongKeys,
} from '../support/pgembedder.ts';

let database: MigratedDatabase;
let models: string;
const reference = openReference();

beforeAll(async () => {
  database = await createMigratedDatabase();
  // The bundled model with a word whose id is beyond the vocabulary: ONNX Runtime refuses every batch that has it.
  models = mkdtempSync(join(tmpdir(), 'pgembedder-models-'));
  const directory = join(models, 'pgembedder', 'all-MiniLM-L6-v2');
  cpSync(join(bundledModelsDirectory, 'pgembedder', 'all-MiniLM-L6-v2'), directory, { recursive: true });
  const path = join(directory, 'tokenizer.json');
  const tokenizer = JSON.parse(readFileSync(path, 'utf8')) as { added_tokens: Record<string, unknown>[] };
  tokenizer.added_tokens.push({
    ...tokenizer.added_tokens[0],
    id: 999_999,
    content: 'poison',
    special: false,
  });
  writeFileSync(path, JSON.stringify(tokenizer));
});
afterAll(async () => {
  await reference.close();
  await database.drop();
  rmSync(models, { recursive: true });
});

const failed = async (pipeline: string) =>
  (
    await database.query<{ row_key: string; attempts: number; error: string }>(
      `select row_key, attempts, error from embedder.failed_job where pipeline = $1 order by row_key`,
      [pipeline],
    )
  ).rows;

describe('a poison text among 100 good ones', () => {
  it('fails alone, is tried as often as it may, becomes a dead letter, and comes back when it is mended', async () => {
    await database.query(`create table poisoned (id int primary key, body text);
      insert into poisoned select i, 'text number ' || i || case i when 42 then ' with poison' else '' end from generate_series(1, 101) i;
      select embedder.create_pipeline('poisoned', 'body', max_attempts => 3, index => 'none')`);
    const lines: string[] = [];
    const logger = pino({ level: 'trace' }, { write: (line: string) => void lines.push(line) });
    const run = () => workerOn(database, { modelDirectories: [models], logger }).drain();
    expect(await run()).toMatchObject({ embedded: 100, retried: 1, dead: 0, failing: [] });
    expect(await queued(database, 'poisoned')).toEqual(['42']);
    const { rows } = await database.query(
      `select attempts, leased_by, last_error, due_at > now() + interval '20 minutes' as waits from embedder.job`,
    );
    expect(rows).toEqual([
      { attempts: 1, leased_by: null, last_error: expect.stringMatching(/999999/), waits: true },
    ]);
    const good = Array.from({ length: 101 }, (_, i) => i + 1).filter((id) => id !== 42);
    const vectors = await reference.embed(good.map((id) => `text number ${id}`));
    const wanted = new Map(good.map((id, i) => [String(id), vectors[i]!]));
    expect(
      wrongKeys(await readVectors(database, 'select id, embedding from poisoned_embedding'), wanted, 0.985),
    ).toEqual([]);

    // Before its time it is left alone.
    expect(await run()).toMatchObject({ embedded: 0, retried: 0, dead: 0 });
    await makeDue(database);
    expect(await run()).toMatchObject({ embedded: 0, retried: 1, dead: 0 });
    await makeDue(database);
    expect(await run()).toMatchObject({ embedded: 0, retried: 0, dead: 1 });
    expect(await failed('poisoned')).toEqual([
      { row_key: '42', attempts: 3, error: expect.stringMatching(/999999/) },
    ]);
    expect(await jobCount(database)).toBe(0);
    const status = await database.query(
      `select state, failed, pending, source_rows, embedded_rows from embedder.status`,
    );
    expect(status.rows).toEqual([
      { state: 'live', failed: '1', pending: '0', source_rows: '101', embedded_rows: '100' },
    ]);

    // Brought back unmended it fails again, with all its attempts.
    await database.query(`select embedder.retry_failed('poisoned')`);
    expect(await run()).toMatchObject({ retried: 1, dead: 0 });
    await database.query(
      `insert into embedder.dead_letter select pipeline_id, row_key, 3, 'as before' from embedder.job; delete from embedder.job`,
    );
    await database.query(`update poisoned set body = 'text number 42' where id = 42`);
    expect(await run()).toMatchObject({ embedded: 1, retried: 0, dead: 0 });
    expect(await failed('poisoned')).toEqual([]);
    const [mended] = await reference.embed(['text number 42']);
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from poisoned_embedding where id = 42'),
        new Map([['42', mended!]]),
        0.985,
      ),
    ).toEqual([]);
    // Rows stay out of the log.
    expect(lines.length).toBeGreaterThan(5);
    expect(lines.join('')).not.toMatch(/text number|with poison/);
  });

  it('retry_failed brings it back, and with another model it is done', async () => {
    await database.query(`create table retried (id int primary key, body text); insert into retried values (1, 'good'), (2, 'bad');
      select embedder.create_pipeline('retried', 'body', max_attempts => 1, index => 'none')`);
    const embedder = new FakeEmbedder();
    embedder.fault = (text) => (text === 'bad' ? new EngineError('run', 'refused') : undefined);
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 1, retried: 0, dead: 1 });
    expect(await failed('retried')).toEqual([{ row_key: '2', attempts: 1, error: 'refused' }]);
    embedder.fault = () => undefined;
    const { rows } = await database.query<{ n: string }>(`select embedder.retry_failed('retried') as n`);
    expect(rows).toEqual([{ n: '1' }]);
    expect(await drain(database, { embedder })).toMatchObject({ embedded: 1, dead: 0 });
    expect(await failed('retried')).toEqual([]);
    expect((await readVectors(database, 'select id, embedding from retried_embedding')).size).toBe(2);
  });
});

describe('a column target whose table refuses a row', () => {
  afterEach(() =>
    database.query(
      `select embedder.drop_pipeline('closed'); drop table closed; drop function if exists refuse()`,
    ),
  );

  it.each([
    [
      'a trigger',
      `create function refuse() returns trigger language plpgsql as $$ begin
        if new.id in (7, 77) and new.embedding is not null then raise 'row % is closed', new.id; end if; return new; end $$;
      create trigger refuse before update on closed for each row execute function refuse()`,
      /^row 7 is closed/,
    ],
    [
      'a constraint',
      `alter table closed add constraint open_only check (id not in (7, 77) or embedding is null)`,
      /violates check constraint "open_only"/,
    ],
    [
      'a trigger with a code of its own',
      `create function refuse() returns trigger language plpgsql as $$ begin
        if new.id in (7, 77) and new.embedding is not null then raise 'row % is closed', new.id using errcode = '45000'; end if; return new; end $$;
      create trigger refuse before update on closed for each row execute function refuse()`,
      /^row 7 is closed/,
    ],
  ])('%s: only those rows fail', async (_, refuse, error) => {
    await database.query(`create table closed (id int primary key, body text); insert into closed select i, 'text ' || i from generate_series(1, 100) i;
      select embedder.create_pipeline('closed', 'body', target_column => 'embedding', max_attempts => 1, index => 'none')`);
    await database.query(refuse);
    const result = await drain(database);
    expect(result).toMatchObject({ embedded: 98, dead: 2, retried: 0, failing: [] });
    const wanted = new Map(
      Array.from({ length: 100 }, (_unused, i) => [
        String(i + 1),
        [7, 77].includes(i + 1) ? null : fakeVector(`text ${i + 1}`),
      ]),
    );
    expect(wrongKeys(await readVectors(database, 'select id, embedding from closed'), wanted)).toEqual([]);
    const letters = await failed('closed');
    expect(letters.map(({ row_key }) => row_key)).toEqual(['7', '77']);
    expect(letters[0]!.error).toMatch(error);
  });
});

describe('a trigger of the user on the target', () => {
  it.each(['sidecar', 'column'])('%s: runs as in any session, with the names it knows', async (kind) => {
    const [target, argument] =
      kind === 'column'
        ? ['watched', `target_column => 'embedding'`]
        : ['watched_vectors', `target_table => 'watched_vectors'`];
    await database.query(`create table watched (id int primary key, body text); insert into watched values (1, 'text');
      create table audit_log (note text);
      select embedder.create_pipeline('watched', 'body', ${argument}, index => 'none');
      create function note() returns trigger language plpgsql as $$ begin insert into audit_log values (current_schema); return new; end $$`);
    await database.query(
      `create trigger note before insert or update on ${target} for each row execute function note()`,
    );
    expect(await drain(database)).toMatchObject({ embedded: 1, failing: [] });
    expect((await database.query('select note from audit_log')).rows).toEqual([{ note: 'public' }]);
    await database.query(
      `select embedder.drop_pipeline('watched', true); drop table watched, audit_log; drop function note cascade`,
    );
  });
});

describe('an engine that answers with nothing of use for a while', () => {
  it('puts an error on the pipeline, counts no attempt, and goes on when it is over', async () => {
    await database.query(`create table waiting (id int primary key, body text); insert into waiting values (1, 'text');
      select embedder.create_pipeline('waiting', 'body', index => 'none')`);
    const embedder = new FakeEmbedder();
    embedder.embedTexts = () =>
      Promise.reject(new EngineError('load', 'model file is damaged', { hint: 'Fetch it again' }));
    expect(await drain(database, { embedder })).toMatchObject({
      embedded: 0,
      dead: 0,
      retried: 0,
      failing: [{ pipeline: 'waiting', error: 'model file is damaged. Fetch it again' }],
    });
    const { rows } = await database.query(
      `select s.state, s.error, j.attempts, j.leased_by from embedder.status s, embedder.job j where s.pipeline = 'waiting'`,
    );
    expect(rows).toEqual([
      { state: 'error', error: 'model file is damaged. Fetch it again', attempts: 0, leased_by: null },
    ]);
    await makeDue(database);
    expect(await drain(database)).toMatchObject({ embedded: 1, failing: [] });
    expect(
      (await database.query(`select state, error from embedder.status where pipeline = 'waiting'`)).rows,
    ).toEqual([{ state: 'live', error: null }]);
  });
});
