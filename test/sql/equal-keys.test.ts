import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { wrongCounts } from '../support/counts.ts';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  jobCount,
  type MigratedDatabase,
  queued,
  readVectors,
  takeQueued,
  wrongKeys,
} from '../support/pgembedder.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create extension citext;
    create collation no_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false)`);
});
afterAll(() => database.drop());

/** A pipeline on a table of its own, with rows of these keys, embedded. */
async function create(key: string, keys: string[], rest = '', columns = 'id'): Promise<void> {
  await database.query(`delete from embedder.pipeline; drop table if exists doc_embedding, doc;
    create table doc (${key}, body text, primary key (${columns}))`);
  for (const [i, values] of keys.entries())
    await database.query(`insert into doc values (${values}, 'text ${i}')`);
  await database.query(`select embedder.create_pipeline('doc', 'body', index => 'none'${rest})`);
  await drain(database);
}
const expectAll = async (texts: string[], target = 'doc_embedding') => {
  expect(await jobCount(database)).toBe(0);
  const vectors = await readVectors(
    database,
    target === 'doc'
      ? `select row_number() over (order by body), e from doc`
      : `select row_number() over (order by d.body), t.embedding from doc d left join ${target} t on t.id = d.id`,
  );
  expect(
    wrongKeys(vectors, new Map([...texts].sort().map((text, i) => [String(i + 1), fakeVector(text)]))),
  ).toEqual([]);
  expect(await wrongCounts(database)).toEqual([]);
  expect((await database.query('select error from embedder.status')).rows).toEqual([{ error: null }]);
};

describe('a key with several texts', () => {
  it.each([
    ['id numeric', '1.5', '1.50', '1.5'],
    ['id float8', `'0'`, `'-0.0'`, '0'],
    ['id float4', `'-0'`, `'0'`, '0'],
    ['id interval', `'1 day'`, `'24 hours'`, '1 day'],
    ['id char(5)', `'a'`, `'a    '`, 'a'],
  ])('%s: %s and %s are one job', async (key, one, other, text) => {
    await create(key, [one]);
    await database.query(`select enqueue_embed('doc', ${other}::text); update doc set body = 'new'`);
    expect(await takeQueued(database, 'doc')).toEqual([text]);
    await database.query(
      `update doc set id = ${other}, body = 'newer'; select enqueue_embed('doc', ${one}::text)`,
    );
    expect(await queued(database, 'doc')).toEqual([text]);
    await drain(database);
    await expectAll(['newer']);
    await database.query(`delete from doc where id = ${one}`);
    expect((await database.query('select from doc_embedding')).rowCount).toBe(0);
    expect(await wrongCounts(database)).toEqual([]);
  });

  it.each([
    ['citext', 'id citext', `'Key'`, 'KEY', 'key'],
    ['a collation that ignores case', 'id text collate no_case', `'Key'`, 'KEY', 'key'],
    ['jsonb', 'id jsonb', `'{"a": 1}'`, '{"a": 1.0}', '{"a": 1.00}'],
    ['an array of numeric', 'id numeric[]', `'{1.5}'`, '{1.50}', '{1.500}'],
  ])(
    '%s: however it is queued, the pipeline works and the row has one vector',
    async (_, key, stored, ...others) => {
      for (const target of ['doc_embedding', 'doc']) {
        await create(
          key,
          [stored, `${stored.replace(/[1kK]/, (c) => (c === '1' ? '7' : 'z'))}`],
          target === 'doc' ? `, target_column => 'e'` : '',
        );
        await database.query(`update doc set body = body || '!'`);
        for (const text of others)
          await database.query(
            `insert into embedder.job (pipeline_id, row_key) select id, $1 from embedder.pipeline`,
            [text],
          );
        await drain(database);
        await expectAll(['text 0!', 'text 1!'], target);
      }
    },
  );

  it('of several columns', async () => {
    await create('a numeric, b text', [`1.5, 'x'`], '', 'a, b');
    await database.query(
      `update doc set a = 1.500, body = 'n'; select enqueue_embed('doc', '{"a": 1.50, "b": "x"}'::text)`,
    );
    expect(await queued(database, 'doc')).toEqual(['{"a": 1.5, "b": "x"}']);
    await drain(database);
    expect((await database.query('select from doc_embedding')).rowCount).toBe(1);
    expect(await wrongCounts(database)).toEqual([]);
  });

  it('has a sidecar whose key compares as the source’s does', async () => {
    await create('id text collate no_case', [`'Key'`]);
    await database.query(`update doc set id = 'KEY', body = 'n'`);
    await drain(database);
    await expectAll(['n']);
    expect((await database.query(`select id from doc_embedding where id = 'key'`)).rowCount).toBe(1);
  });
});

describe('an input', () => {
  it('that changes in case only has changed, whatever its collation or type says', async () => {
    await database.query(`delete from embedder.pipeline; drop table if exists doc_embedding, doc;
      create table doc (id int primary key, body text collate no_case, more citext); insert into doc values (1, 'Apple', 'Pear');
      select embedder.create_pipeline('doc', 'body', index => 'none'), embedder.create_pipeline('doc', 'more', name => 'more', index => 'none')`);
    await drain(database);
    await database.query(`update doc set body = 'apple'; update doc set more = 'pear'`);
    expect([await queued(database, 'doc'), await queued(database, 'more')]).toEqual([['1'], ['1']]);
  });

  it('of more pieces than a function takes arguments works', async () => {
    const template = Array.from({ length: 130 }, (_, i) => `${i}{body}`).join('');
    await database.query(`delete from embedder.pipeline; drop table if exists doc_embedding, doc;
      create table doc (id int primary key, body text); insert into doc values (1, 'b');
      select embedder.create_pipeline('doc', '${template}', index => 'none')`);
    await drain(database);
    const wanted = fakeVector(template.replaceAll('{body}', 'b'));
    expect(
      wrongKeys(
        await readVectors(database, 'select id, embedding from doc_embedding'),
        new Map([['1', wanted]]),
      ),
    ).toEqual([]);
    await database.query(`update doc set body = 'c'`);
    expect(await queued(database, 'doc')).toEqual(['1']);
  });
});

describe('a key that is double for a moment', () => {
  it.each([
    [
      'is inserted before the old row is deleted',
      `insert into doc values (1, 'new'); delete from doc where id = 1 and body = 'text 0'`,
      ['new', 'text 1'],
    ],
    [
      'is swapped by two updates',
      `update doc set id = 2 where id = 1; update doc set id = 1 where id = 2 and body = 'text 1'`,
      ['text 0', 'text 1'],
    ],
    [
      'is swapped while the texts change',
      `update doc set body = body || '!'; update doc set id = 2 where id = 1; update doc set id = 1 where id = 2 and body = 'text 1!'`,
      ['text 0!', 'text 1!'],
    ],
    ['is swapped by one update', `update doc set id = 3 - id`, ['text 0', 'text 1']],
    [
      'is inserted twice',
      `insert into doc values (5, 'a'), (5, 'b'); delete from doc where body = 'a'`,
      ['b', 'text 0', 'text 1'],
    ],
    ['goes away twice', `insert into doc values (1, 'a'); delete from doc where id = 1`, ['text 1']],
  ])('%s: every row has the vector of its text, and all counts are right', async (_, statements, texts) => {
    for (const target of ['doc_embedding', 'doc']) {
      await create(
        'id int',
        ['1', '2'],
        target === 'doc' ? `, target_column => 'e'` : '',
        'id) deferrable initially deferred, check (true',
      );
      await database.query(
        `begin; ${statements.replaceAll(/insert into doc values/g, 'insert into doc (id, body) values')}; commit`,
      );
      await drain(database);
      await expectAll(texts, target);
    }
  });

  it('in one statement that deletes and inserts: the new row is embedded', async () => {
    await create('id int', ['1', '2']);
    await database.query(
      `with gone as (delete from doc where id = 1 returning *) insert into doc select id, 'again' from gone where body = 'text 0'`,
    );
    await drain(database);
    await expectAll(['again', 'text 1']);
  });
});
