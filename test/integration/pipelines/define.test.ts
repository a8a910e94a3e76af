import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { definePipeline } from '../../../src/pipelines/define.ts';
import { loadPipelines, refreshPipeline, setPipelineError } from '../../../src/pipelines/pipeline.ts';
import { createMigratedDatabase, type MigratedDatabase, queued } from '../../support/pgembedder.ts';

let database: MigratedDatabase;
beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create schema "My Blog"; create table "My Blog"."The Articles" (id int primary key, title text, body text);
    insert into "My Blog"."The Articles" values (1, 't', 'b')`);
});
afterAll(() => database.drop());

const source = '"My Blog"."The Articles"';

describe('definePipeline', () => {
  it('does what create_pipeline does with its defaults', async () => {
    expect(await definePipeline(database.kysely, { source, input: '{title}\\n{body}' })).toBe('The Articles');
    const { rows } = await database.query(
      `select source::text, input, model, target_table::text, sidecar, options, index, priority, max_attempts from embedder.pipeline`,
    );
    expect(rows).toEqual([
      {
        source: '"My Blog"."The Articles"',
        input: '{title}\\n{body}',
        model: 'all-MiniLM-L6-v2',
        target_table: '"My Blog"."The Articles_embedding"',
        sidecar: true,
        options: {},
        index: 'hnsw',
        priority: 0,
        max_attempts: 5,
      },
    ]);
    expect(await queued(database, 'The Articles')).toEqual(['1']);
  });

  it('hands every argument on', async () => {
    const name = `it's "named" $1`;
    const given = {
      source,
      input: 'body',
      name,
      model: 'org/name',
      task: 'feature-extraction',
      targetColumn: 'The "Vector"',
      options: { dimensions: 3, normalize: false, pooling: 'cls', prompt: `it's: ` },
      index: 'ivfflat',
      priority: -3,
      maxAttempts: 7,
      enqueueExisting: false,
    } as const;
    expect(await definePipeline(database.kysely, given)).toBe(name);
    await expect(definePipeline(database.kysely, given)).rejects.toMatchObject({
      code: '42710',
      hint: expect.stringMatching(/if_not_exists/),
    });
    expect(await definePipeline(database.kysely, { ...given, ifNotExists: true })).toBe(name);
    expect(await queued(database, name)).toEqual([]);
    const all = await loadPipelines(database.kysely);
    expect(all.map((pipeline) => pipeline.name)).toEqual(['The Articles', name]);
    expect(all[1]).toMatchObject({
      model: 'org/name',
      task: 'feature-extraction',
      dimensions: 3,
      options: given.options,
      priority: -3,
      maxAttempts: 7,
      paused: false,
      filled: false,
      error: null,
    });
    const { rows } = await database.query(
      'select target_column, index from embedder.pipeline where name = $1',
      [name],
    );
    expect(rows).toEqual([{ target_column: 'The "Vector"', index: 'ivfflat' }]);
  });

  it('takes the name of a sidecar', async () => {
    await definePipeline(database.kysely, {
      source,
      input: 'title',
      name: 'titles',
      targetTable: 'public."Title Vectors"',
    });
    const { rows } = await database.query(
      `select target_table::text from embedder.pipeline where name = 'titles'`,
    );
    expect(rows).toEqual([{ target_table: '"Title Vectors"' }]);
  });
});

describe('an error of a pipeline', () => {
  it('is written with the time it began, kept while it stays the same, and cleared', async () => {
    const { id } = (await loadPipelines(database.kysely))[0]!;
    const stored = async () =>
      (await database.query('select error, error_at from embedder.pipeline where id = $1', [id])).rows[0]!;
    await setPipelineError(database.kysely, id, 'broken');
    const first = await stored();
    expect(first).toEqual({ error: 'broken', error_at: expect.any(Date) });
    await setPipelineError(database.kysely, id, 'broken');
    expect(await stored()).toEqual(first);
    await setPipelineError(database.kysely, id, null);
    expect(await stored()).toEqual({ error: null, error_at: null });
    const { rows } = await database.query<{ n: number }>(
      'select count(*)::int as n from embedder.pipeline where error is not null',
    );
    expect(rows).toEqual([{ n: 0 }]);
  });

  it('of its tables is found by refreshPipeline; of none that was dropped', async () => {
    const { id } = (await loadPipelines(database.kysely))[0]!;
    expect(await refreshPipeline(database.kysely, id)).toBeNull();
    await database.query(`alter table ${source} drop column body`);
    expect(await refreshPipeline(database.kysely, id)).toMatch(
      /names column "body", which table "My Blog"\."The Articles" does not have/,
    );
    await database.query(`select embedder.drop_pipeline('The Articles')`);
    expect(await refreshPipeline(database.kysely, id)).toBeUndefined();
  });
});
