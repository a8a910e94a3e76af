import { expect, it } from 'vitest';
import { createEmbedder, openDatabase, search } from '../../src/index.ts';
import { unpackMatrix } from '../support/matrix.ts';
import { silent } from '../support/pgembedder.ts';
import { createDatabase } from '../support/postgres.ts';
import { run, runJson } from './cli.ts';

const { directory, cases } = unpackMatrix();
const MODEL = 'matrix/splade';
const env = { PGEMBEDDER_MODELS_DIR: directory };
const { rows } = cases.find(({ name }) => name === 'splade')!;
const { text, passage } = rows.find((row) => /^[\w ,.]{10,}$/.test(row.text))!;
const wanted = passage!.flatMap((value, index) => (value > 0 ? [{ index, value }] : []));

it('embed prints a sparse vector as pgvector takes it, and in JSON', async () => {
  const { stdout } = await run(['embed', text, '--model', MODEL], { env });
  const [, pairs, dimensions] = /^\{(.*)\}\/(\d+)\n$/.exec(stdout)!;
  expect(dimensions).toBe('600');
  expect(pairs!.split(',').map((pair) => pair.split(':').map(Number))).toEqual(
    wanted.map(({ index, value }) => [index + 1, expect.closeTo(value, 4)]),
  );
  const json = await run(['embed', text, '--model', MODEL, '--json'], { env });
  const shown = {
    indices: wanted.map(({ index }) => index),
    values: wanted.map(({ value }) => expect.closeTo(value, 4)),
  };
  expect(JSON.parse(json.stdout)).toEqual({ model: MODEL, dimensions: 600, ...shown });
  const lines = await run(['embed', '--stdin', '--model', MODEL], { env, input: `${text}\n` });
  expect(JSON.parse(lines.stdout)).toEqual({ line: 1, ...shown });
});

it('embedSparse of the library keeps the largest weights; embed refuses the model in one line', async () => {
  const models = await createEmbedder({ modelDirectories: [directory], device: 'cpu', logger: silent });
  try {
    const [vector] = await models.embedSparse(MODEL, [text], { topK: 3 });
    const largest = wanted.toSorted((a, b) => b.value - a.value).slice(0, 3);
    expect([...vector!.indices]).toEqual(largest.map(({ index }) => index).sort((a, b) => a - b));
    await expect(models.embedSparse(MODEL, [text], { topK: 0 })).rejects.toThrow('topK is 0');
    await expect(models.embed(MODEL, [text])).rejects.toThrow('are sparse, and dense ones are asked for');
  } finally {
    await models.close();
  }
});

it('a pipeline is declared, filled, searched and checked by the command line; the library searches it', async () => {
  const database = await createDatabase();
  const withDatabase = { env: { ...env, DATABASE_URL: database.url, PGEMBEDDER_HTTP: 'off' } };
  try {
    await run(['migrate'], withDatabase);
    await database.query('create table doc (id int primary key, body text)');
    const texts = rows.map((row) => row.text);
    await database.query('insert into doc select i, t from unnest($1::text[]) with ordinality u(t, i)', [
      texts,
    ]);
    const refused = await run(['pipeline', 'create', 'doc', 'body', '--model', MODEL], withDatabase);
    expect(refused.stderr).toContain(`model "${MODEL}" gives sparse vectors, and vector_type is "vector"`);
    const options = ['--options', '{"vector_type": "sparsevec"}'];
    const made = await run(['pipeline', 'create', 'doc', 'body', '--model', MODEL, ...options], withDatabase);
    expect(made.stdout).toContain(`${MODEL}, 600 dimensions`);
    expect(await run(['work', '--once'], withDatabase)).toMatchObject({ code: 0 });
    const found = await runJson<{ key: { id: number }; similarity: number }[]>(
      ['search', 'doc', text, '-k', '3'],
      withDatabase,
    );
    const product = (other: readonly number[]) =>
      other.reduce((sum, each, i) => sum + each * passage![i]!, 0);
    const best = rows
      .filter((row) => row.text.trim() !== '')
      .map((row) => product(row.passage!))
      .sort((a, b) => b - a)
      .slice(0, 3);
    expect(found.map(({ similarity }) => similarity)).toEqual(best.map((each) => expect.closeTo(each, 1)));
    const lines = await run(['search', 'doc', '--stdin', '-k', '1'], { ...withDatabase, input: `${text}\n` });
    expect(JSON.parse(lines.stdout)).toMatchObject({ line: 1, matches: [{ key: found[0]!.key }] });
    const models = await createEmbedder({ modelDirectories: [directory], device: 'cpu', logger: silent });
    const connected = openDatabase(database.url, 1);
    try {
      expect(await search(connected, models, 'doc', text, { k: 1 })).toMatchObject([{ key: found[0]!.key }]);
    } finally {
      await connected.destroy();
      await models.close();
    }
    const checked = await run(['check', '--deep'], withDatabase);
    expect(checked).toMatchObject({
      code: 0,
      stdout: `ok    doc, ${rows.length} rows, a sample computed again\n`,
    });
    await database.query(`update doc_embedding set embedding = '{1:1}/600' where id = ${found[0]!.key.id}`);
    const wrong = await run(['check', '--deep'], withDatabase);
    expect(wrong.code).toBe(1);
    expect(wrong.stdout).toContain('to the one computed again');
    const doctor = await run(['doctor'], withDatabase);
    expect(doctor.stdout).toContain('sparse vectors of 600 dimensions');
    await database.query('delete from doc');
    await run(['work', '--once'], withDatabase);
    const none = await run(['search', 'doc', text], withDatabase);
    expect(none.stdout).toContain('No row has a term in common with it');
  } finally {
    await database.drop();
  }
});
