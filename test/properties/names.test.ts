import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createMigratedDatabase, drain, jobCount, type MigratedDatabase } from '../support/pgembedder.ts';
import { holds, name } from './property.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
const taken = ['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid'];
/** A sidecar's own columns cannot be those of a key: create_pipeline says so. */
const own = ['chunk', 'chunk_text', 'embedding', 'model', 'source_hash', 'embedded_at'];
const column = name.filter((given) => !taken.includes(given) && !own.includes(given));

it('a pipeline lives under any names of schema, table, columns and its own', async () => {
  const names = fc.record({
    schema: name.filter((given) => !given.startsWith('pg_') && given !== 'embedder'),
    table: name,
    pipeline: name,
    columns: fc.uniqueArray(column, { minLength: 3, maxLength: 3 }),
    sidecar: fc.boolean(),
  });
  await holds(
    [names],
    async ({ schema, table, pipeline, columns: [key, text, target], sidecar }) => {
      const source = `${quoted(schema)}.${quoted(table)}`;
      // Of a case before this one that failed.
      await database.query(`select embedder.drop_pipeline(name) from embedder.pipeline`);
      await database.query(`drop schema if exists ${quoted(schema)} cascade`);
      await database.query(`create schema ${quoted(schema)}`);
      await database.query(`create table ${source} (${quoted(key!)} int primary key, ${quoted(text!)} text)`);
      await database.query(`insert into ${source} values (1, 'one')`);
      const wanted = sidecar ? null : target;
      await database.query(`select embedder.create_pipeline($1, $2, name => $3, target_column => $4)`, [
        source,
        text,
        pipeline,
        wanted,
      ]);
      await database.query(`insert into ${source} values (2, 'two'), (3, 'three')`);
      await database.query(`update ${source} set ${quoted(text!)} = 'zwei' where ${quoted(key!)} = 2`);
      await drain(database);
      await database.query(`delete from ${source} where ${quoted(key!)} = 3`);
      const { rows } = await database.query(
        `select source_rows::int, embedded_rows::int, failed::int, error from embedder.status where pipeline = $1`,
        [pipeline],
      );
      expect(rows).toEqual([{ source_rows: 2, embedded_rows: 2, failed: 0, error: null }]);
      const vector = `[${Array.from({ length: 384 }, () => 1).join(',')}]`;
      const hits = await database.query(`select row_key from embedder.search($1, $2::vector, k => 5)`, [
        pipeline,
        vector,
      ]);
      expect(hits.rows.map((hit) => hit.row_key).sort()).toEqual(['1', '2']);
      await database.query(`select embedder.alter_pipeline($1, model => 'Xenova/bge-small-en-v1.5')`, [
        pipeline,
      ]);
      await drain(database);
      await database.query(`select embedder.drop_pipeline($1, drop_target => true)`, [pipeline]);
      expect(await jobCount(database)).toBe(0);
      const left = await database.query(
        `select relname from pg_class where relnamespace = $1::regnamespace and relkind in ('r', 'v')`,
        [quoted(schema)],
      );
      expect(left.rows).toEqual([{ relname: table }]);
      await database.query(`drop schema ${quoted(schema)} cascade`);
    },
    20,
  );
});
