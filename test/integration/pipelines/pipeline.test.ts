import { afterAll, beforeAll, expect, it } from 'vitest';
import { loadPipelines } from '../../../src/pipelines/pipeline.ts';
import { createMigratedDatabase, type MigratedDatabase } from '../../support/pgembedder.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

it('an option that is null, of an earlier version, counts as not given', async () => {
  await database.query(`create table doc (id int primary key, body text);
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
  const client = await database.pool.connect();
  // As it was written before: without the triggers that check it now.
  await client.query(`set session_replication_role = replica;
    update embedder.pipeline set options = '{"pooling": null, "normalize": false}'`);
  client.release(true);
  expect((await loadPipelines(database.kysely))[0]!.options).toEqual({ normalize: false });
});
