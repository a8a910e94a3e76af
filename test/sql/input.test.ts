import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(String.raw`
    create schema user_things;
    create table page (id int primary key, title text, body text, n int, "Odd }"" name %s" text, "{title}" text, made date);
    insert into page values
      (1, 'Title', 'Body', 7, 'odd', 'braced', '2024-02-03'),
      (2, null, 'only a body', null, null, null, null),
      (3, null, e' \n\t', null, null, null, null),
      (4, 'it''s $$ \n "q"', E'line\nbreak \\', 0, '%I {body}', null, null),
      (5, '', '', null, null, null, null)`);
});
afterAll(() => database.drop());

/** The input texts of all rows, in their order, as a worker would read them. */
async function inputs(input: string): Promise<(string | null)[]> {
  const client = await database.pool.connect();
  try {
    await client.query('begin');
    await client.query(`select embedder.create_pipeline('page', $1, enqueue_existing => false)`, [input]);
    const { rows: pipelines } = await client.query<{ id: number }>('select id from embedder.pipeline');
    const { rows } = await client.query<{ input: string | null }>(
      `select input from embedder.pipeline_${pipelines[0]!.id}_read(array['1','2','3','4','5'], 1000) order by place`,
    );
    return rows.map((row) => row.input);
  } finally {
    await client.query('rollback');
    client.release();
  }
}

describe('an input', () => {
  it.each<[input: string, texts: (string | null)[]]>([
    ['title', ['Title', null, null, String.raw`it's $$ \n "q"`, '']],
    ['n', ['7', null, null, '0', null]],
    ['made', ['2024-02-03', null, null, null, null]],
    // A column of that very name wins over the template.
    ['{title}', ['braced', null, null, null, null]],
    ['{body}', ['Body', 'only a body', ' \n\t', 'line\nbreak \\', '']],
    [
      String.raw`{title}\n{body}`,
      ['Title\nBody', '\nonly a body', null, `it's $$ \\n "q"\nline\nbreak \\`, null],
    ],
    [String.raw`{{{n}}}\t\\{title}\x`, ['{7}\t\\Title\\x', null, null, `{0}\t\\it's $$ \\n "q"\\x`, null]],
    [`it's {n} $$ %s %% "`, [`it's 7 $$ %s %% "`, null, null, `it's 0 $$ %s %% "`, null]],
    ['{n}{n}', ['77', null, null, '00', null]],
    ['Odd }" name %s', ['odd', null, null, '%I {body}', null]],
  ])('%j', async (input, texts) => {
    expect(await inputs(input)).toEqual(texts);
  });

  it('is cut by the server, by characters', async () => {
    await database.query(`select embedder.create_pipeline('page', 'title', enqueue_existing => false)`);
    const { rows: pipelines } = await database.query<{ id: number }>('select id from embedder.pipeline');
    const { rows } = await database.query<{ input: string }>(
      `select input from embedder.pipeline_${pipelines[0]!.id}_read(array['1'], 3)`,
    );
    expect(rows).toEqual([{ input: 'Tit' }]);
    await database.query(`select embedder.drop_pipeline('page', true)`);
  });
});
