import { once } from 'node:events';
import { pino } from 'pino';
import type { Row } from '../row.ts';
import { createWorker, Embedder } from '../support/built.ts';
import { createBenchDatabase } from '../support/database.ts';
import { InstantEngine } from '../support/instant-engine.ts';
import { median } from '../support/statistics.ts';

/**
 * A pipeline on a table of 1,000,000 rows: how long create_pipeline and backfill take to queue them, how many rows the
 * job table holds at most while a worker is at it, and what a look at embedder.status costs meanwhile and afterwards.
 */
export const backfill: Row = {
  name: 'backfill',
  title: 'a backfill of 1,000,000 rows, and embedder.status beside it',
  async measure({ server, quick, say }) {
    const rows = quick ? 100_000 : 1_000_000;
    const { client, url, drop } = await createBenchDatabase(server, 'backfill');
    const timed = async (statement: string) => {
      const begin = performance.now();
      await client.query(statement);
      return (performance.now() - begin) / 1_000;
    };
    try {
      await client.query(`create table note (id bigint generated always as identity primary key, body text);
        insert into note (body) select 'note number ' || i from generate_series(1, ${rows}) i`);
      await client.query('vacuum analyze note');
      const created = await timed(`select embedder.create_pipeline('note', 'body', index => 'none')`);
      say(`create_pipeline: ${created.toFixed(2)} s`);
      const again = await timed(`select embedder.backfill('note')`);
      const worker = createWorker({
        connection: url,
        logger: pino({ level: 'error' }),
        embedder: new Embedder({ engine: new InstantEngine() }),
      });
      await worker.start();
      const busy: number[] = [];
      let most = 0;
      const begin = performance.now();
      while (worker.stats.embedded < rows) {
        await once(worker.events, 'completed', { signal: AbortSignal.timeout(120_000) });
        busy.push((await timed('select * from embedder.status')) * 1_000);
        const { rows: counted } = await client.query<{ n: number }>(
          'select count(*)::int as n from embedder.job',
        );
        most = Math.max(most, counted[0]!.n);
      }
      const rate = rows / ((performance.now() - begin) / 1_000);
      say(`${rate.toFixed(0)} rows/s, at most ${most} jobs`);
      await worker.stop();
      const idle: number[] = [];
      for (let i = 0; i < 21; i++) idle.push((await timed('select * from embedder.status')) * 1_000);
      const count = await timed('select count(*) from note');
      return [
        { name: `create_pipeline, ${rows} rows queued`, value: created, unit: 's', bar: { atMost: 2 } },
        { name: 'backfill called again', value: again * 1_000, unit: 'ms' },
        { name: 'jobs at most', value: most, unit: 'rows', bar: { atMost: 10_000 } },
        { name: 'filled, an engine that answers at once', value: rate, unit: 'rows/s' },
        { name: 'status while filling', value: median(busy), unit: 'ms' },
        { name: 'status afterwards', value: median(idle), unit: 'ms' },
        { name: 'count(*) of the source, for comparison', value: count * 1_000, unit: 'ms' },
      ];
    } finally {
      await drop();
    }
  },
};
