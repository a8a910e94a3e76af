import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { parseChunking } from '../../src/chunking/parse-chunking.ts';
import { checkTaskOptions, optionNames } from '../../src/tasks/task-options.ts';
import type { TaskName } from '../../src/tasks/tasks.ts';
import { chunkingCases, taskOptionCases } from '../support/option-cases.ts';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';
import { createRole } from '../support/postgres.ts';

// A declaration is checked by SQL, a call and what a worker reads by TypeScript: one list of cases for both.

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query('create table doc (id int primary key, body text)');
});
afterAll(() => database.drop());

const accepts = async (check: () => unknown): Promise<boolean> => {
  try {
    await check();
    return true;
  } catch {
    return false;
  }
};
const inSql = (call: string, ...given: unknown[]) => accepts(() => database.query(`select ${call}`, given));
const shown = (value: unknown) => JSON.stringify(value).slice(0, 80);
const wherever = (accepted: boolean) => ({ sql: accepted, typescript: accepted });

describe.each(Object.entries(taskOptionCases))('%s', (name, { needed, options }) => {
  const task = name as TaskName;
  const check = async (given: object) => ({
    sql: await inSql('embedder.check_options($1, $2::jsonb)', task, JSON.stringify(given)),
    typescript: await accepts(() => checkTaskOptions(task, given)),
  });

  it('has these options', async () => {
    const { rows } = await database.query<{ option: string }>(
      'select option from embedder.known_options($1)',
      [task],
    );
    const names = Object.keys(options).sort();
    expect(rows.map(({ option }) => option).sort()).toEqual(names);
    expect(optionNames(task).sort()).toEqual(names);
  });

  it.each(Object.entries(options))('%s', async (option, { right, wrong, beside }) => {
    for (const value of right)
      expect(await check({ ...needed, ...beside, [option]: value }), shown(value)).toEqual(wherever(true));
    for (const value of wrong)
      expect(await check({ ...needed, ...beside, [option]: value }), shown(value)).toEqual(wherever(false));
  });

  it('takes no other option, and has all that it needs', async () => {
    expect(await check({ ...needed, colour: 'red' })).toEqual(wherever(false));
    expect(await check({})).toEqual(wherever(Object.keys(needed).length === 0));
  });
});

it.each([
  [{ vector_type: 'sparsevec', dimensions: 30_522, prompt: '' }, true],
  [{ vector_type: 'sparsevec', dimensions: 2 ** 24 + 1 }, false],
  [{ vector_type: 'halfvec', dimensions: 16_001 }, false],
  [{ vector_type: 'halfvec', top_k: 10 }, false],
  [{ top_k: 10 }, false],
  [{ vector_type: 'sparsevec', pooling: 'max' }, false],
  [{ vector_type: 'sparsevec', normalize: false }, false],
])('options of vectors together: %j', async (options, right) => {
  const task = 'feature-extraction';
  expect({
    sql: await inSql('embedder.check_options($1, $2::jsonb)', task, JSON.stringify(options)),
    typescript: await accepts(() => checkTaskOptions(task, options)),
  }).toEqual(wherever(right));
});

it('an owner without any other right has labels and separators checked', async () => {
  const owner = await createRole();
  const client = await database.pool.connect();
  try {
    await client.query(`begin; grant create on schema public to ${owner.name};
      alter table doc owner to ${owner.name}; set local role ${owner.name}`);
    await client.query(`select embedder.create_pipeline('doc', 'body', name => 'topics', task => 'zero-shot-classification',
      options => '{"labels": ["a", "b"]}', chunking => '{"strategy": "recursive", "separators": ["\\n"]}')`);
  } finally {
    await client.query('rollback');
    client.release();
    await owner.drop();
  }
});

describe('chunking', () => {
  // Of a model that nobody has seen, so that it does not say how long a chunk may be.
  const pipeline = `(select jsonb_populate_record(null::embedder.pipeline,
    '{"model": "x/y", "sidecar": true}'::jsonb || jsonb_build_object('source', 'doc'::regclass::oid)))`;
  const check = async (given: object) => ({
    sql: await inSql(`embedder.check_chunking(${pipeline}, $1::jsonb)`, JSON.stringify(given)),
    typescript: await accepts(() => parseChunking(given)),
  });

  it.each(chunkingCases.right)('takes %j', async (given) => {
    expect(await check(given)).toEqual(wherever(true));
  });

  it.each(chunkingCases.wrong)('refuses %j', async (given) => {
    expect(await check(given)).toEqual(wherever(false));
  });

  it('has the same defaults', async () => {
    for (const given of [{ strategy: 'tokens' }, { strategy: 'markdown', size: 20 }]) {
      const { rows } = await database.query<{ checked: object }>(
        `select embedder.check_chunking(${pipeline}, $1::jsonb) as checked`,
        [JSON.stringify(given)],
      );
      expect(rows[0]!.checked).toEqual(parseChunking(given));
    }
  });
});
