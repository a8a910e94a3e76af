import { afterAll, beforeAll, beforeEach, expect, it } from 'vitest';
import { EngineError } from '../../../src/inference/backend/engine-error.ts';
import { Embedder } from '../../../src/inference/embedder.ts';
import { Engine } from '../../../src/inference/engine/engine.ts';
import {
  createMigratedDatabase,
  drain,
  fakeVector,
  type MigratedDatabase,
  readVectors,
  silent,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { RemoteEngine } from '../../support/remote-engine.ts';

let database: MigratedDatabase;
let remote: RemoteEngine;
let embedder: Embedder;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`insert into embedder.model (name, task, dimensions)
    values ('remote/words', 'feature-extraction', 384)`);
});

beforeEach(async () => {
  remote = new RemoteEngine();
  embedder = new Embedder({ engine: new Engine({ logger: silent }), others: [remote] });
  await database.query(`select embedder.drop_pipeline(name, true) from embedder.pipeline; drop table if exists doc;
    create table doc (id int primary key, body text);
    insert into doc select i, 'text ' || i from generate_series(1, 10) i;
    select embedder.create_pipeline('doc', 'body', model => 'remote/words', index => 'none')`);
});

afterAll(() => database.drop());

async function expectVectors(): Promise<void> {
  const wanted = new Map(
    Array.from({ length: 10 }, (_, i) => [String(i + 1), fakeVector(`text ${i + 1}`)] as const),
  );
  const found = await readVectors(database, 'select id, embedding from doc_embedding');
  expect(wrongKeys(found, wanted)).toEqual([]);
}

it('a pipeline whose model has no folder is served by the backend that has it', async () => {
  expect(await drain(database, { embedder })).toMatchObject({ embedded: 10, failing: [] });
  await expectVectors();
  // Rows of a first filling wait behind all others.
  expect(remote.sent.map(({ options }) => options.priority)).toEqual(['backfill', 'backfill', 'backfill']);
});

it('rows that have to wait for the backend use no attempt, and the pipeline has no error', async () => {
  let refused = 0;
  remote.refuse = () =>
    refused++ < 2 ? new EngineError('later', 'too many requests', { until: Date.now() + 100 }) : undefined;
  expect(await drain(database, { embedder })).toMatchObject({
    ...{ embedded: 10, retried: 0, dead: 0, failing: [] },
  });
  expect(refused).toBeGreaterThan(2);
  await expectVectors();
  const { rows } = await database.query<{ error: string | null }>(
    `select error from embedder.status where pipeline = 'doc'`,
  );
  expect(rows).toEqual([{ error: null }]);
});
