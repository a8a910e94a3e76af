import pg from 'pg';
import type { Bench, Figure, Row } from '../row.ts';
import { type BenchDatabase, createBenchDatabase } from '../support/database.ts';
import { quantile } from '../support/statistics.ts';

const CLAIM = 2_048;
/** Claims of one figure. */
const CLAIMS = 15;

/**
 * How long a claim of 2,048 jobs takes with ever more jobs waiting, and after a churn of rows while another session keeps an old
 * snapshot, so that nothing that is done can be cleared away; and how long one row then waits to be claimed.
 */
export const claims: Row = {
  name: 'claims',
  title: 'claims of 2,048 jobs',
  async measure(bench) {
    const { server, quick } = bench;
    const database = await createBenchDatabase(server, 'claims');
    const holder = new pg.Client({ connectionString: database.url });
    await holder.connect();
    try {
      await database.client.query(`create table note (id bigint generated always as identity primary key, body text);
        select embedder.create_pipeline('note', 'body', index => 'none');
        insert into embedder.worker_process (hostname, pid, version, listening, idle, beat_at)
        values ('bench', 0, 'bench', true, false, now() + interval '1 day')`);
      const figures: Figure[] = [];
      let pending = 0;
      for (const wanted of quick ? [10_000, 50_000] : [10_000, 100_000, 1_000_000]) {
        await database.client.query(
          `insert into note (body) select 'note ' || i from generate_series(1, $1) i`,
          [wanted - pending],
        );
        pending = wanted;
        figures.push(
          await measure(bench, database, `${wanted.toLocaleString('en')} pending`, figures[0]?.value),
        );
      }
      await holder.query('begin isolation level repeatable read; select count(*) from note');
      await churn(bench, database);
      figures.push(await measure(bench, database, 'an old snapshot, after churn', figures[0]!.value));
      return figures;
    } finally {
      await holder.end();
      await database.drop();
    }
  },
};

/** The median of claims as a worker does them; each is given back. */
async function measure(
  { say }: Bench,
  { client }: BenchDatabase,
  name: string,
  first: number | null | undefined,
): Promise<Figure> {
  await client.query('analyze embedder.job');
  const runs: number[] = [];
  for (let i = 0; i < CLAIMS; i++) {
    await client.query('begin');
    const begin = performance.now();
    const { rowCount } = await client.query(claim);
    runs.push(performance.now() - begin);
    await client.query('rollback');
    if (rowCount !== CLAIM) throw new Error(`${rowCount} jobs were claimed, not ${CLAIM}`);
  }
  const value = quantile(runs, 0.5);
  say(`${name}: ${value.toFixed(1)} ms`);
  return { name, value, unit: 'ms', runs, ...(first && { bar: { atMost: 2 * first } }) };
}

const claim = `select * from embedder.claim_jobs((select id from embedder.worker_process),
  array(select id from embedder.pipeline), ${CLAIM}, '1 minute')`;

/** Rows come and are done, for ten minutes. */
async function churn({ quick, say }: Bench, { client }: BenchDatabase): Promise<void> {
  const until = performance.now() + (quick ? 10 : 600) * 1_000;
  let rows = 0;
  while (performance.now() < until) {
    await client.query(`insert into note (body) select 'churn ' || i from generate_series(1, ${CLAIM}) i`);
    await client.query(`with claimed as materialized (${claim})
      delete from embedder.job j using claimed c where j.pipeline_id = c.pipeline_id and j.row_key = c.row_key`);
    rows += CLAIM;
  }
  say(`${rows.toLocaleString('en')} rows have come and are done`);
}
