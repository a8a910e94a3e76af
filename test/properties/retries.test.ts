import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';
import { holds } from './property.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table note (id int primary key, body text);
    select embedder.create_pipeline('note', 'body');
    insert into note values (1, 'one')`);
});
afterAll(() => database.drop());

it('a failed row waits for half to all of base * 2^(attempts - 1), at most the limit, or is a dead letter', async () => {
  const seconds = fc.integer({ min: 1, max: 100_000 });
  await holds(
    [fc.integer({ min: 1, max: 1_000 }), fc.integer({ min: 1, max: 1_000 }), seconds, seconds],
    async (attempts, allowed, base, limit) => {
      const client = await database.pool.connect();
      try {
        await client.query('begin');
        await client.query('update embedder.pipeline set max_attempts = $1', [allowed]);
        const { rows: jobs } = await client.query(
          'update embedder.job set attempts = $1, leased_by = 7 returning pipeline_id, row_key, version',
          [attempts],
        );
        const { pipeline_id, row_key, version } = jobs[0]!;
        await client.query(
          `select embedder.fail_jobs(7, $1, array[$2], array[$3]::bigint[], '{why}', $4 * interval '1 s', $5 * interval '1 s')`,
          [pipeline_id, row_key, version, base, limit],
        );
        const { rows } = await client.query<{ dead: boolean; wait: number | null }>(
          `select exists (select from embedder.failed_job) as dead,
            (select extract(epoch from due_at - now())::float8 from embedder.job) as wait`,
        );
        const { dead, wait } = rows[0]!;
        expect(dead).toBe(attempts >= allowed);
        if (dead) return expect(wait).toBeNull();
        const longest = Math.min(limit, base * 2 ** Math.min(attempts - 1, 30));
        expect(wait).toBeGreaterThanOrEqual(longest / 2 - 0.001);
        expect(wait).toBeLessThanOrEqual(longest + 0.001);
      } finally {
        await client.query('rollback');
        client.release();
      }
    },
  );
});
