import pg from 'pg';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';
import { createRole, type TestRole } from '../support/postgres.ts';

let database: MigratedDatabase;
let app: TestRole;
const vector = `(select ('[' || string_agg('1', ',') || ']')::vector from generate_series(1, 384))`;

beforeAll(async () => {
  database = await createMigratedDatabase();
  app = await createRole();
  await database.query(`create table articles (id int primary key, title text, body text);
    insert into articles values (1, 'Refunds', 'You get the money back within a week, and pay no fee.'),
      (2, 'Prices', 'What a refund is: the price that was paid, given back.'), (3, 'Bread', 'How to bake it.'), (4, 'Weeks', 'A week has a price.');
    create view seen as select * from articles; create materialized view kept as select * from articles;
    select embedder.create_pipeline('articles', 'body', index => 'none');
    insert into articles_embedding (id, embedding, model) values (3, ${vector}, 'x')`);
});
afterAll(async () => {
  await database.drop();
  await app.drop();
});

const failure = async (statement: string, on: { query(text: string): Promise<unknown> } = database) => {
  try {
    await on.query(statement);
  } catch (error) {
    return error as pg.DatabaseError;
  }
  throw new Error(`nothing was wrong with ${statement}`);
};

describe('a name that is not there', () => {
  it.each([
    [`select embedder.table_named('artcles')`, 'articles'],
    [`select embedder.create_pipeline('articles', 'bdoy', name => 'x')`, 'body'],
    [`select embedder.create_pipeline('articles', '{titel}: {body}', name => 'x')`, 'title'],
    [
      `select embedder.create_pipeline('articles', 'body', name => 'x', model => 'all-MiniLM-L6')`,
      'all-MiniLM-L6-v2',
    ],
    [
      `select embedder.create_pipeline('articles', 'body', name => 'x', task => 'feature-extracton')`,
      'feature-extraction',
    ],
    [
      `select embedder.create_pipeline('articles', 'body', name => 'x', options => '{"poling": "cls"}')`,
      'pooling',
    ],
    [
      `select embedder.create_pipeline('articles', 'body', name => 'x', chunking => '{"stratgy": "tokens"}')`,
      'strategy',
    ],
    [`select embedder.create_pipeline('articles', 'body', name => 'x', index => 'hsnw')`, 'hnsw'],
    [
      `select embedder.create_pipeline('articles', 'body', name => 'x', index_options => '{"ef_constructon": "64"}')`,
      'ef_construction',
    ],
    [
      `select embedder.create_pipeline('articles', 'body', name => 'x', chunking => '{"strategy": "recursiv"}')`,
      'recursive',
    ],
    [
      `select embedder.create_pipeline('articles', 'body', name => 'x', index_options => '{"operator_class": "vector_cosin_ops"}')`,
      'vector_cosine_ops',
    ],
    [`select embedder.embed('a cat', 'all-MiniLM-L6-v2', '{"poolin": "cls"}')`, 'pooling'],
    [`select embedder.grant_search('postgers')`, 'postgres'],
    [`select embedder.pause_pipeline('artciles')`, 'articles'],
    [`select * from embedder.search('Article', ${vector})`, 'articles'],
  ])('is told with the one that was meant: %s', async (statement, meant) => {
    expect((await failure(statement)).hint).toMatch(new RegExp(`^Did you mean "${meant}"\\? `));
  });

  it('index_options without an index are refused', async () => {
    const statement = `select embedder.create_pipeline('articles', 'body', name => 'x', index => 'none', index_options => '{"m": 8}')`;
    expect(await failure(statement)).toMatchObject({
      message: 'index none has no option "m"',
      hint: 'Leave index_options out.',
    });
  });

  it('is told without where nothing is near', async () => {
    expect((await failure(`select embedder.pause_pipeline('something')`)).hint).toBe('There are: articles.');
  });
});

it.each([
  ['seen', 'mere view', 'articles'],
  ['kept', 'materialized view', 'articles'],
])('a view is called one, with the table under it: %s', async (name, kind, under) => {
  expect(await failure(`select embedder.create_pipeline('${name}', 'body')`)).toMatchObject({
    message: `public.${name} is a ${kind}: nothing tells when its rows change`,
    hint: `Make the pipeline on a table under it: public.${under}.`,
  });
});

it('row level security makes no notice of a policy that was never there', async () => {
  const client = new pg.Client(database.url);
  const notices: string[] = [];
  client.on('notice', ({ message }) => notices.push(message!));
  await client.connect();
  try {
    await client.query(`create table guarded (id int primary key, body text); alter table guarded enable row level security;
      select embedder.create_pipeline('guarded', 'body')`);
    expect(notices).toEqual([]);
  } finally {
    await client.end();
  }
});

describe('a search that cannot be', () => {
  const calls = [
    (rest: string) => `select * from embedder.search('articles', ${vector}${rest})`,
    (rest: string) => `select * from embedder.hybrid_search('articles', 'price', ${vector}${rest})`,
  ];

  it('because of its filter says so in one sentence, without the statement that was made of it', async () => {
    for (const call of calls) {
      const error = await failure(call(`, filter => 'titel = 1'`));
      expect(error).toMatchObject({
        code: '42703',
        message: `the filter 'titel = 1' does not work on articles: column "titel" does not exist`,
        hint: expect.stringContaining('condition on one row'),
        internalQuery: undefined,
      });
      expect(error.where).not.toMatch(/nearest|by_meaning/);
      // One that is a condition and fails with a row.
      expect(await failure(call(`, filter => '1 / (id - id) = 1'`))).toMatchObject({
        code: '22012',
        internalQuery: undefined,
      });
    }
  });

  it('because of a missing right names the grant', async () => {
    const client = new pg.Client(database.urlAs(app));
    await client.connect();
    try {
      for (const call of calls) {
        await database.query(
          `revoke all on articles, articles_embedding from ${app.name}; grant select on articles to ${app.name}`,
        );
        const error = await failure(call(''), client);
        expect(error).toMatchObject({
          code: '42501',
          message: `role ${app.name} may not read public.articles_embedding`,
          hint: expect.stringMatching(`^grant select on public.articles_embedding to ${app.name};`),
          internalQuery: undefined,
        });
        await database.query(`revoke all on articles from ${app.name}`);
        expect(await failure(call(''), client)).toMatchObject({
          code: '42704',
          hint: expect.stringMatching(/their owners grant it by embedder.grant_search\.$/),
        });
      }
    } finally {
      await client.end();
    }
  });

  it.each(['0', '-1', 'null', '1000001'])('with k => %s is refused', async (k) => {
    for (const call of calls)
      expect(await failure(call(`, k => ${k}`))).toMatchObject({ code: '22023', hint: undefined });
  });
});

describe('the words of a hybrid search', () => {
  const byWords = async (query: string) =>
    (
      await database.query<{ row_key: string }>(
        `select row_key from embedder.hybrid_search('articles', $1, ${vector}, vector_weight => 0) where full_text_rank is not null order by full_text_rank`,
        [query],
      )
    ).rows.map(({ row_key }) => row_key);

  it('are found for a question too: those with all of them first, then with two, else with any', async () => {
    expect(await byWords('how do I get my money back?')).toEqual(['1']);
    // No row has all three.
    expect(await byWords('refund price week')).toEqual(
      ['4', '2'].sort((a, b) => (a === '2' ? -1 : 1) - (b === '2' ? -1 : 1)),
    );
    expect(await byWords('price week')).toEqual(['4']);
    expect(await byWords('baking cakes')).toEqual(['3']);
  });

  it('keep quotes, minus and or', async () => {
    expect(await byWords('"money back" week zebra')).toEqual(['1']);
    expect(await byWords('"back money"')).toEqual([]);
    expect(await byWords('price zebra -refund')).toEqual(['4']);
    expect(await byWords('bake or fee')).toEqual(['1', '3']);
  });

  it.each([
    [`'a' & 'b' & 'c'`, 2, `'a' & 'b' | 'a' & 'c' | 'b' & 'c'`],
    [`'a' & 'b' & 'c'`, 1, `'a' | 'b' | 'c'`],
    [`'a' & 'b'`, 2, `'a' & 'b'`],
    [`'a'`, 1, `'a'`],
    [`'a' & 'b' & !'c'`, 1, `( 'a' | 'b' ) & !'c'`],
    [`'a' <-> 'b' & 'c'`, 1, `'a' <-> 'b' | 'c'`],
    [`'a' | 'b' & 'c'`, 1, `'a' | 'b' & 'c'`],
    [`!'a' & !'b'`, 1, `!'a' & !'b'`],
    [``, 1, ``],
  ])('%s with %i of them', async (query, enough, wanted) => {
    const { rows } = await database.query(`select embedder.some_words($1::tsquery, $2)::text as words`, [
      query,
      enough,
    ]);
    expect(rows).toEqual([{ words: wanted }]);
  });
});
