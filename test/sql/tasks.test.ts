import { afterAll, beforeAll, expect, it } from 'vitest';
import { optionNames } from '../../src/tasks/task-options.ts';
import { tasks } from '../../src/tasks/tasks.ts';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';

let database: MigratedDatabase;
beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

it('embedder.tasks() says what src/tasks says', async () => {
  const { rows } = await database.query(`
    select t.name, t.input, t.result, t.models, array(select jsonb_object_keys(t.needs)) as needs,
      array(select k.option collate "C" from embedder.known_options(t.name) k order by 1) as options
    from embedder.tasks() t`);
  // A pair of texts is no row's.
  const declared = tasks.filter(({ input }) => input !== 'pair');
  expect(rows).toEqual(
    declared.map(({ name, input, result, adapts, trial }) => ({
      name,
      input,
      result,
      models: Object.keys(adapts),
      needs: Object.keys(trial),
      options: optionNames(name).sort(),
    })),
  );
});
