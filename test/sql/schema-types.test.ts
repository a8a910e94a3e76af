import { afterAll, beforeAll, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';
import { schemaTypes } from '../support/schema-types.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

it('the types of src/database/schema.ts are those of a migrated database', async () => {
  await expect(await schemaTypes(database)).toMatchFileSnapshot('../../src/database/schema.ts');
});
