import { afterAll, beforeAll, expect, it } from 'vitest';
import { UserError } from '../../../src/errors.ts';
import { findSearchable } from '../../../src/search/search.ts';
import { createMigratedDatabase, type MigratedDatabase } from '../../support/pgembedder.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table doc (id bigint primary key, body text);
    select embedder.create_pipeline('doc', 'body');
    select embedder.create_pipeline('doc', 'body', name => 'labels', task => 'zero-shot-classification',
      options => '{"labels": ["sport", "politics"]}')`);
});
afterAll(() => database.drop());

it('finds the live generation while the next one is filled', async () => {
  await database.query(`select embedder.alter_pipeline('doc', model => 'Xenova/bge-base-en-v1.5')`);
  // Whichever row of the two stands first in the table.
  for (const generation of [1, 2]) {
    await database.query(
      'update embedder.pipeline set priority = priority where name = $1 and generation = $2',
      ['doc', generation],
    );
    expect(await findSearchable(database.kysely, 'doc')).toMatchObject({
      name: 'doc',
      model: 'all-MiniLM-L6-v2',
      keyColumns: [{ name: 'id', type: 'bigint' }],
    });
  }
});

it.each([
  ['dco', 'there is no pipeline "dco"', 'Did you mean "doc"? There are: doc, labels.'],
  [
    'labels',
    'pipeline "labels" is for zero-shot-classification, and has no vectors',
    'Name a pipeline whose task is feature-extraction.',
  ],
])('refuses %s in the words of embedder.search', async (name, message, hint) => {
  const error = await findSearchable(database.kysely, name).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(UserError);
  expect(error).toMatchObject({ message, hint });
});
