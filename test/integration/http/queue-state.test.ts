import { Registry } from 'prom-client';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createInstruments } from '../../../src/http/metrics/instruments.ts';
import { QueueState } from '../../../src/http/metrics/queue-state.ts';
import { createMigratedDatabase, type MigratedDatabase } from '../../support/pgembedder.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

it('a large table that no worker has counted yet has no number of rows, and keeps no other metric back', async () => {
  await database.query(`create table doc (id int primary key, body text); insert into doc values (1, 'a');
    select embedder.create_pipeline('doc', 'body', index => 'none');
    update embedder.pipeline set uncounted_since = now()`);
  const instruments = createInstruments(new Registry());
  await new QueueState(database.kysely).collect(instruments);
  expect((await instruments.sourceRows.get()).values).toEqual([]);
  expect((await instruments.embeddedRows.get()).values).toMatchObject([
    { value: 0, labels: { pipeline: 'doc' } },
  ]);
  expect((await instruments.databaseUp.get()).values).toMatchObject([{ value: 1 }]);
});
