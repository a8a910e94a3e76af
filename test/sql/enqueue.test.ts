import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { createMigratedDatabase, drain, type MigratedDatabase, queued } from '../support/pgembedder.ts';
import { pollUntil } from '../support/poll-until.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table doc (id int primary key, body text);
    create table pair (a int, b text, body text, primary key (a, b));
    insert into doc values (1, 'one'), (2, 'two'); insert into pair values (1, 'x', 'one');
    select embedder.create_pipeline('doc', 'body'), embedder.create_pipeline('pair', 'body')`);
});
afterAll(() => database.drop());
beforeEach(() => database.query('delete from embedder.job; delete from embedder.backfill_run'));

const enqueue = async (call: string) =>
  (await database.query<{ answer: boolean }>(`select ${call} as answer`)).rows[0]!.answer;

describe('enqueue_embed', () => {
  it('says whether it put the row on the queue', async () => {
    expect(await enqueue(`enqueue_embed('doc', 1)`)).toBe(true);
    expect(await enqueue(`enqueue_embed('doc', 1)`)).toBe(false);
    expect(await enqueue(`embedder.enqueue_embed('doc', '1')`)).toBe(false);
    expect(await enqueue(`enqueue_embed('doc', '2')`)).toBe(true);
    expect(await queued(database, 'doc')).toEqual(['1', '2']);
    await database.query(`update embedder.job set leased_by = 4, due_at = now() + interval '1 minute'`);
    expect(await enqueue(`enqueue_embed('doc', 1)`)).toBe(true);
    await database.query(
      `update embedder.job set attempts = 2, due_at = now() + interval '1 minute' where row_key = '1'`,
    );
    expect(await enqueue(`enqueue_embed('doc', 1)`)).toBe(true);
    const { rows } = await database.query(
      `select row_key, attempts, leased_by, due_at <= now() as due from embedder.job order by row_key`,
    );
    expect(rows).toEqual([
      { row_key: '1', attempts: 0, leased_by: null, due: true },
      { row_key: '2', attempts: 0, leased_by: 4, due: false },
    ]);
  });

  it('says so of a row that is not there, and has what is left of it removed', async () => {
    await database.query(`insert into doc_embedding (id, embedding, model) select 404, embedding, 'x' from
      (select ('[' || string_agg('1', ',') || ']')::vector as embedding from generate_series(1, 384)) e`);
    expect(await enqueue(`enqueue_embed('doc', 404)`)).toBe(false);
    expect(await queued(database, 'doc')).toEqual(['404']);
    await drain(database);
    expect((await database.query('select from doc_embedding where id = 404')).rowCount).toBe(0);
  });

  it('of a row that somebody is deleting waits, so that no vector stays behind', async () => {
    await database.query(`insert into doc values (7, 'seven'); delete from embedder.job`);
    const holder = await database.pool.connect();
    try {
      await holder.query('begin; delete from doc where id = 7');
      const queuing = enqueue(`enqueue_embed('doc', 7)`);
      await pollUntil(
        async () =>
          (
            await database.query(
              `select from pg_stat_activity where wait_event_type = 'Lock' and query like '%enqueue_embed%'`,
            )
          ).rowCount === 1,
        { what: 'enqueue_embed waiting' },
      );
      expect(await drain(database)).toMatchObject({ embedded: 0 });
      await holder.query('commit');
      expect(await queuing).toBe(false);
    } finally {
      holder.release();
    }
    await drain(database);
    expect((await database.query('select from doc_embedding where id = 7')).rowCount).toBe(0);
  });

  it('takes a key of several columns as an object, in any order', async () => {
    expect(await enqueue(`enqueue_embed('pair', '{"b": "x", "a": 1}'::jsonb)`)).toBe(true);
    expect(await enqueue(`enqueue_embed('pair', '{"a": "1", "b": "x", "more": true}')`)).toBe(false);
    expect(await queued(database, 'pair')).toEqual(['{"a": 1, "b": "x"}']);
  });

  it.each<[call: string, code: string, message: string, hint: string]>([
    [`enqueue_embed('nope', 1)`, '42704', 'there is no pipeline "nope"', 'There are: doc, pair.'],
    [`enqueue_embed(null::text, 1)`, '42704', 'there is no pipeline "<NULL>"', 'There are: doc, pair.'],
    [
      `enqueue_embed('doc', 'x')`,
      '22023',
      `row key 'x' does not fit the key of pipeline "doc"`,
      'Its key: id integer.',
    ],
    [
      `enqueue_embed('doc', 3000000000)`,
      '22023',
      `row key '3000000000' does not fit the key of pipeline "doc"`,
      'Its key: id integer.',
    ],
    [
      `enqueue_embed('doc', null::int)`,
      '22023',
      'row key NULL does not fit the key of pipeline "doc"',
      'Its key: id integer.',
    ],
    [
      `enqueue_embed('doc', '')`,
      '22023',
      `row key '' does not fit the key of pipeline "doc"`,
      'Its key: id integer.',
    ],
    ...[
      `'1'`,
      `'{"a": 1}'`,
      `'{}'`,
      `'{"a": 1, "b": null}'`,
      `'[1, "x"]'`,
      `'{"a": "x", "b": "y"}'`,
      `'no json'`,
      `'"text"'`,
    ].map((key): [string, string, string, string] => [
      `enqueue_embed('pair', ${key})`,
      '22023',
      `row key ${key} does not fit the key of pipeline "pair"`,
      'Its key: a integer, b text. Give a jsonb object with these fields.',
    ]),
  ])('refuses %s', async (call, code, message, hint) => {
    await expect(database.query(`select ${call}`)).rejects.toMatchObject({ code, message, hint });
    expect(await queued(database, 'pair')).toEqual([]);
  });
});
