import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it, vi } from 'vitest';
import { readConfig } from '../../../src/config.ts';
import { defaultModel } from '../../../src/models/choice.ts';
import { knownModels } from '../../../src/models/known-models.ts';
import { createModelStore } from '../../../src/models/store.ts';
import { packageRoot } from '../../../src/package-root.ts';
import type * as tables from '../../../src/tasks/table.ts';
import { toneClassification } from '../../fixtures/tasks/tone-classification.ts';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';
import { tinyModelsFolder } from '../../support/tiny-models.ts';

// What adds a task: a file of src/tasks (test/fixtures/tasks/tone-classification.ts), a line in table.ts beside it, and ...
vi.mock('../../../src/tasks/table.ts', async (load) => {
  const { table } = await load<typeof tables>();
  const added = await import('../../fixtures/tasks/tone-classification.ts');
  return { table: [...table, added.toneClassification] };
});
// ... these lines in sql/base/tasks.sql, each after the last of its list.
const LINES = [
  [/\n {4}\(4, .*/, `,\n    (5, 'tone-classification', 'text', 'labels', '{}', '{}')`],
  [/from \(values\n(?: {4}\('.*,\n)+/, `    ('tone-classification', 'loudness', 'a whole number from 1'),\n`],
] as const;

const MODEL = 'pgembedder/tiny-random-multilabel';
const folder = tinyModelsFolder();
let database: MigratedDatabase;
beforeAll(async () => {
  const config = join(folder, MODEL, 'config.json');
  const before = JSON.parse(readFileSync(config, 'utf8')) as object;
  writeFileSync(config, JSON.stringify({ ...before, architectures: ['BertForToneClassification'] }));
  database = await createMigratedDatabase();
  const tasks = readFileSync(join(packageRoot, 'sql', 'base', 'tasks.sql'), 'utf8');
  await database.query(
    LINES.reduce((text, [after, line]) => {
      expect(text).toMatch(after);
      return text.replace(after, (found) => found + line);
    }, tasks),
  );
});
afterAll(async () => {
  await database.drop();
  rmSync(folder, { recursive: true });
});

it('a new task is declared, run, written, shown and refused like the others, with no other file changed', async () => {
  await database.query(`create table doc (id int primary key, body text);
    insert into doc values (1, 'a quiet sea'), (2, 'a loud sea'), (3, null)`);
  const create = (options: object) =>
    database.query(
      `select embedder.create_pipeline('doc', 'body', task => 'tone-classification', model => $1, options => $2)`,
      [MODEL, options],
    );
  await expect(create({ loudnes: 2 })).rejects.toMatchObject({
    message: 'tone-classification has no option "loudnes"',
    hint: 'Did you mean "loudness"? Its options: loudness.',
  });
  await expect(create({ loudness: 'very' })).rejects.toThrow('must be a whole number from 1');
  await create({ loudness: 2 });
  await workerOn(database, { modelDirectories: [folder] }).drain();
  const { rows } = await database.query<{ id: number; label: string; score: number; detail: object }>(
    'select id, label, score, detail from doc_with_label order by id',
  );
  expect(rows.map(({ id }) => id)).toEqual([1, 2]);
  const { labels } = createModelStore({ directories: [folder] }).find(MODEL) as unknown as {
    labels: string[];
  };
  for (const { label, score, detail } of rows) {
    expect(Object.keys(detail).sort()).toEqual([...labels].sort());
    expect(Math.max(...(Object.values(detail) as number[]))).toBeCloseTo(score, 5);
    expect(labels).toContain(label);
  }
  await expect(database.query(`select * from embedder.search('doc', 'sea')`)).rejects.toMatchObject({
    message: 'pipeline "doc" is for tone-classification, and has no vectors',
  });
});

it('models and settings know it', () => {
  const store = createModelStore({ directories: [folder] });
  expect(store.list().find(({ name }) => name === MODEL)).toMatchObject({ task: toneClassification.name });
  expect(() => store.find('all-MiniLM-L6-v2', toneClassification.name as never)).toThrow(
    expect.objectContaining({
      message: `Model 'all-MiniLM-L6-v2' is for feature-extraction, not for tone-classification`,
      hint: toneClassification.advice,
    }),
  );
  const config = readConfig({ PGEMBEDDER_MODEL_TONE_CLASSIFICATION: 'a/b:fp32' });
  expect(defaultModel(config, toneClassification.name)).toEqual({ name: 'a/b', variant: 'fp32' });
  expect(knownModels(store)).toContainEqual({
    name: MODEL,
    task: toneClassification.name,
    dimensions: null,
    max_tokens: store.find(MODEL).maxTokens,
    sparse: false,
  });
});
