import { afterAll, beforeAll, expect, it } from 'vitest';
import { unpackMatrix } from '../support/matrix.ts';
import { createDatabase, type TestDatabase } from '../support/postgres.ts';
import { tinyModelsFolder } from '../support/tiny-models.ts';
import { Cli, run } from './cli.ts';

let database: TestDatabase;
beforeAll(async () => {
  database = await createDatabase();
});
afterAll(() => database.drop());

const env = { PGEMBEDDER_MODELS_DIR: tinyModelsFolder() };
// biome-ignore lint/suspicious/noExplicitAny: each command has another answer, which the test compares.
const linesOf = (stdout: string): any[] =>
  stdout
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));

it('embed answers each line, whatever it ends in, and a bad one costs no others', async () => {
  const input = Buffer.concat([
    Buffer.from('\ufeffa small cat\r\n'),
    Buffer.from([0xff, 0xfe, 0x0a]),
    Buffer.from('a small cat\n\na loan'),
  ]);
  const { code, stdout } = await run(['embed', '--stdin'], { input });
  expect(code).toBe(1);
  const lines = linesOf(stdout);
  expect(lines.map(({ line, error, vector }) => [line, error ?? vector.length])).toEqual([
    [1, 384],
    [2, 'The line is not UTF-8'],
    [3, 384],
    [4, 384],
    [5, 384],
  ]);
  const { stdout: one } = await run(['embed', 'a small cat', '--json']);
  const alone = (JSON.parse(one) as { vector: number[] }).vector;
  for (const at of [0, 2]) expect(lines[at].vector[0]).toBeCloseTo(alone[0]!, 1);
});

it('answers come in the order of the lines, as many as there are, and none for none', async () => {
  const input = Array.from({ length: 1_500 }, (_, n) => `${'word '.repeat(n % 7)}${n}`).join('\n');
  const args = ['classify', '--stdin', '--model', 'pgembedder/tiny-random-multilabel', '--top-k', '1'];
  const { code, stdout } = await run(args, { env, input });
  expect(code).toBe(0);
  const lines = linesOf(stdout);
  expect(lines.map(({ line }) => line)).toEqual(Array.from({ length: 1_500 }, (_, n) => n + 1));
  const { stdout: alone } = await run(
    ['classify', `${'word '.repeat(3)}10`, '--model', 'pgembedder/tiny-random-multilabel', '--json'],
    { env },
  );
  expect(lines[10].label).toBe((JSON.parse(alone) as { label: string }).label);
  expect(await run(args, { env, input: '' })).toMatchObject({ code: 0, stdout: '' });
});

it('search and rerank take lines as well', async () => {
  const databaseEnv = { ...env, DATABASE_URL: database.url, PGEMBEDDER_HTTP: 'off' };
  await run(['migrate'], { env: databaseEnv });
  await database.query(`create table notes (id int primary key, body text); insert into notes values (1, 'a cat sleeps'), (2, 'the bank lends money');
    select embedder.create_pipeline('notes', 'body', index => 'none')`);
  await run(['work', '--once'], { env: databaseEnv });
  const found = await run(['search', 'notes', '--stdin', '-k', '1'], {
    env: databaseEnv,
    input: 'a kitten\na loan\n',
  });
  expect(linesOf(found.stdout).map(({ line, matches }) => [line, matches[0].key.id])).toEqual([
    [1, 1],
    [2, 2],
  ]);
  const { directory, cases } = unpackMatrix();
  const { texts, queries } = cases.find(({ name }) => name === 'reranker-minilm-pairs')!;
  const some = texts!.flatMap((text, place) => (/[\r\n]|^$/.test(text) ? [] : [place])).slice(0, 5);
  const { stdout } = await run(
    ['rerank', queries![1]!.query, '--stdin', '--model', 'matrix/reranker-minilm'],
    {
      env: { PGEMBEDDER_MODELS_DIR: directory },
      input: some.map((place) => texts![place]!).join('\n'),
    },
  );
  expect(linesOf(stdout).map(({ score }) => score)).toEqual(
    some.map((place) => expect.closeTo(queries![1]!.scores[place]!, 3)),
  );
});

it('a line is answered before the next one comes, and a reader who has enough is no error', async () => {
  const { code, stderr } = await run(['embed'], {});
  expect(code).toBe(2);
  expect(stderr).toContain("missing required argument 'text'");
  const both = await run(['classify', 'x', '--stdin'], {});
  expect(both.code).toBe(2);
  expect(both.stderr).toContain('text and --stdin exclude each other');
  const talk = new Cli(['embed', '--stdin'], { keepOpen: true });
  talk.write('one\n');
  await talk.said('{"line":1,');
  talk.write('two\n');
  await talk.said('{"line":2,');
  talk.end();
  expect(await talk.result()).toMatchObject({ code: 0 });
});
