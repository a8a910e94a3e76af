import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { Cli, run, runJson } from './cli.ts';

let database: TestDatabase;
let env: Record<string, string>;
beforeAll(async () => {
  database = await createDatabase();
  env = { DATABASE_URL: database.url, PGEMBEDDER_HTTP: 'off' };
  await database.query(`create table articles (id int primary key, title text, body text);
    insert into articles values (1, 'Refunds', 'You get your money back.'), (2, 'Bread', 'Bake it for an hour.')`);
});
afterAll(() => database.drop());

describe("the README's five lines", () => {
  it('end in an answer, though the worker has just been started', async () => {
    await run(['migrate'], { env });
    await run(['pipeline', 'create', 'articles', '{title}\\n{body}'], { env });
    const worker = new Cli(['work'], { env });
    try {
      const { code, stdout, stderr } = await run(
        ['search', 'articles', 'how do I get my money back', '--wait'],
        { env },
      );
      expect(stderr).toContain('Waiting until the rows of articles have their vectors');
      expect({ code, first: stdout.split('\n')[1] }).toEqual({
        code: 0,
        first: expect.stringContaining('Refunds You get your money back.'),
      });
    } finally {
      worker.kill('SIGTERM');
      await worker.result();
    }
  });

  it('say what is missing when no worker runs', async () => {
    await database.query(`insert into articles values (3, 'New', 'Nobody embeds it.')`);
    const { code, stderr } = await run(['search', 'articles', 'x', '--wait', '0'], { env });
    expect(code).toBe(1);
    expect(stderr).toContain(
      'pipeline "articles" is not done after 0 s: 1 row waits, and no worker runs. Start one: pgembedder work',
    );
  });
});

describe('a wrong name', () => {
  it.each([
    [
      'of a table',
      ['pipeline', 'create', 'artcles', 'body'],
      'table "artcles" does not exist. Did you mean "articles"?',
    ],
    ['of a pipeline', ['search', 'articls', 'x'], 'there is no pipeline "articls". Did you mean "articles"?'],
  ])('%s: the nearest is named', async (_, args, message) => {
    const { code, stderr } = await run(args, { env });
    expect({ code, stderr }).toEqual({ code: 1, stderr: expect.stringContaining(message) });
  });

  it('of a model: what to do is said in flags', async () => {
    const { stderr } = await run(
      ['pipeline', 'create', 'articles', 'body', '--name', 'm', '--model', 'nope'],
      {
        env,
      },
    );
    expect(stderr).toContain(`--options '{"dimensions": 384}'`);
    expect(stderr).not.toContain('=>');
  });
});

describe('--json', () => {
  it.each([
    [['search', 'nothing', 'x', '--json'], 1, 'there is no pipeline "nothing"'],
    [['search', 'articles', '--json'], 2, "missing required argument 'query'"],
  ])('%j: an error is JSON on stdout, with the same exit code', async (args, code, error) => {
    const result = await run(args, { env });
    expect(result.code).toBe(code);
    expect(JSON.parse(result.stdout)).toEqual({ error, hint: expect.any(String) });
    expect(result.stderr).toContain(error);
  });
});

describe('options', () => {
  it.each([
    ['--chunking', `'{"strategy": "recursive", "size": 256}'`],
    ['--index-options', `'{"m": 16, "ef_construction": 64}'`],
  ])('%s that are no JSON get an example of their own', async (flag, example) => {
    const { code, stderr } = await run(['pipeline', 'create', 'articles', 'body', flag, '{size']);
    expect({ code, stderr }).toEqual({ code: 2, stderr: expect.stringContaining(`such as ${example}`) });
  });

  it('embed - reads the text from stdin', async () => {
    const [piped, given] = await Promise.all([
      run(['embed', '-'], { input: 'a small cat\n' }),
      run(['embed', 'a small cat']),
    ]);
    expect(piped).toEqual(given);
  });

  it('classify with labels takes the bundled model', async () => {
    const found = await runJson<{ model: string; label: string }>([
      ...['classify', 'the match ended in a draw', '--labels', 'sport,politics'],
    ]);
    expect(found).toMatchObject({ model: 'all-MiniLM-L6-v2', label: 'sport' });
  });
});

it('a pull from a hub of which there is no such host ends at once, and tells of the folder', async () => {
  const { code, stderr } = await run(['models', 'pull', 'a/b'], {
    env: { PGEMBEDDER_HUB_URL: 'http://hub.invalid', PGEMBEDDER_MODELS_DIR: '/tmp/pgembedder-none' },
  });
  expect(code).toBe(1);
  expect(stderr).toContain('http://hub.invalid cannot be reached');
  expect(stderr).toContain('pgembedder models pull ./FOLDER --name ORG/NAME');
  expect(stderr).not.toContain('trying again');
});
