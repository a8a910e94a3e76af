import pg from 'pg';
import type { Row } from '../row.ts';
import { definePipeline } from '../support/built.ts';
import { type BenchDatabase, createBenchDatabase } from '../support/database.ts';
import { quantile } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';
import { startWorkCommand, stopWorkCommand } from '../support/worker-command.ts';

/**
 * How long a row waits for its vector while the worker sleeps: from the acknowledged commit's statement being sent
 * to the vector being there for another connection, which looks for it without a pause. The worker is the command
 * `pgembedder work` with the real model; pauses between samples are random, so that it sleeps each time.
 */
export const latency: Row = {
  name: 'latency',
  title: 'insert to visible vector, idle worker',
  async measure({ server, quick }) {
    const database = await createBenchDatabase(server, 'latency');
    const { client, kysely, url } = database;
    await client.query('create table note (id bigint generated always as identity primary key, body text)');
    await definePipeline(kysely, { source: 'note', input: 'body', index: 'none' });
    const worker = startWorkCommand(url);
    const watcher = new pg.Client({ connectionString: url });
    await watcher.connect();
    try {
      const texts = await glosses(quick ? 40 : 220);
      const waits: number[] = [];
      for (const text of texts) {
        waits.push(await sample(database, watcher, text));
        await new Promise((resolve) => setTimeout(resolve, 50 + 100 * Math.random()));
      }
      // The first ones load the model and warm everything up.
      const counted = waits.slice(20);
      return [
        figure('p50', quantile(counted, 0.5), 12),
        figure('p95', quantile(counted, 0.95), 30),
        { name: 'p99', value: quantile(counted, 0.99), unit: 'ms' },
        { name: 'longest', value: Math.max(...counted), unit: 'ms' },
      ];
    } finally {
      await stopWorkCommand(worker);
      await watcher.end();
      await database.drop();
    }
  },
};

/** Milliseconds from the insert to its visible vector. */
async function sample({ client }: BenchDatabase, watcher: pg.Client, text: string): Promise<number> {
  const begin = performance.now();
  const { rows } = await client.query<{ id: string }>({
    name: 'insert',
    text: 'insert into note (body) values ($1) returning id',
    values: [text],
  });
  const look = { name: 'look', text: 'select from note_embedding where id = $1', values: [rows[0]!.id] };
  for (;;) {
    const { rowCount } = await watcher.query(look);
    const wait = performance.now() - begin;
    if (rowCount === 1) return wait;
    if (wait > 30_000) throw new Error('a row got no vector within 30 s');
  }
}

function figure(name: string, value: number, atMost: number) {
  return { name, value, unit: 'ms', bar: { atMost } };
}
