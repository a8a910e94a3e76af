import { once } from 'node:events';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest';
import { alterPipeline, definePipeline } from '../../../src/pipelines/define.ts';
import {
  createMigratedDatabase,
  drain,
  FakeEmbedder,
  type MigratedDatabase,
} from '../../support/pgembedder.ts';

let database: MigratedDatabase;
let client: pg.Client;
const heard: unknown[] = [];

beforeAll(async () => {
  database = await createMigratedDatabase();
  client = new pg.Client(database.url);
  client.on('notification', ({ payload }) => heard.push(JSON.parse(payload!)));
  await client.connect();
  await client.query('listen embedder_done; listen embedder_sync');
});
afterAll(async () => {
  await client.end();
  await database.drop();
});
beforeEach(() => database.query(`create table doc (id int primary key, body text)`));
afterEach(async () => {
  heard.length = 0;
  await database.query(`select embedder.drop_pipeline('doc', drop_target => true); drop table doc cascade`);
});

/** What was heard when all that is under way has come. */
async function all(): Promise<unknown[]> {
  const arrived = once(client, 'notification');
  await database.query(`select pg_notify('embedder_done', '"end"')`);
  await arrived;
  while (heard.at(-1) !== 'end') await once(client, 'notification');
  return heard.slice(0, -1);
}
const work = () => drain(database, { embedder: new FakeEmbedder() });

it.each<[string, object]>([
  ['a sidecar', {}],
  ['a column', { targetColumn: 'embedding' }],
  ['chunks', { chunking: { strategy: 'recursive', size: 8 } }],
])('each completed batch is told once, with its rows, of %s', async (_, more) => {
  await definePipeline(database.kysely, {
    source: 'doc',
    input: 'body',
    index: 'none',
    notify: true,
    ...more,
  });
  await database.query(`insert into doc select n, 'text ' || n from generate_series(1, 700) n`);
  await work();
  const told = (await all()) as { pipeline: string; rows: number }[];
  expect(new Set(told.map(({ pipeline }) => pipeline))).toEqual(new Set(['doc']));
  expect(told.reduce((sum, { rows }) => sum + rows, 0)).toBe(700);
  expect(told.length).toBeLessThan(20);
});

it('who hears of it sees the result; nothing is told where nobody has asked, and alter begins and ends it', async () => {
  await definePipeline(database.kysely, { source: 'doc', input: 'body', index: 'none' });
  await database.query(`insert into doc values (1, 'one')`);
  await work();
  expect(await all()).toEqual([]);
  heard.length = 0;
  expect(await alterPipeline(database.kysely, 'doc', { notify: true })).toBe('changed');
  await database.query(`insert into doc values (2, 'two')`);
  const worked = work();
  await once(client, 'notification');
  expect((await database.query('select from doc_embedding where id = 2')).rowCount).toBe(1);
  await worked;
  expect(await all()).toEqual([{ pipeline: 'doc', rows: 1 }]);
  heard.length = 0;
  // The next generation has it as well, and tells nothing before it is live.
  await alterPipeline(database.kysely, 'doc', { options: { prompt: 'p: ' } });
  await work();
  expect(await all()).toEqual([]);
  heard.length = 0;
  await database.query(`select embedder.cutover('doc')`);
  await database.query(`update doc set body = 'other' where id = 1`);
  await work();
  expect(await all()).toEqual([{ pipeline: 'doc', rows: 1 }]);
  await alterPipeline(database.kysely, 'doc', { notify: false });
  const { rows } = await database.query<{ notify: boolean }>('select notify from embedder.pipeline');
  expect(rows.map(({ notify }) => notify)).toEqual([false]);
});
