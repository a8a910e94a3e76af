import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import type { Figure, Row } from '../row.ts';
import { definePipeline } from '../support/built.ts';
import { type BenchDatabase, createBenchDatabase } from '../support/database.ts';
import { median } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';

const COUNTS = [1, 2, 4];

/** The queue alone with one, two and four workers, each a process of its own: their claims must not hold each other up. */
export const workers: Row = {
  name: 'workers',
  title: 'the queue alone with several workers, an engine that answers at once',
  async measure({ server, quick, say }) {
    const texts = await glosses(quick ? 20_000 : 100_000);
    const database = await createBenchDatabase(server, 'workers');
    const { client, kysely, url } = database;
    try {
      await client.query(
        'create table gloss (id bigint generated always as identity primary key, body text)',
      );
      await definePipeline(kysely, { source: 'gloss', input: 'body', index: 'none' });
      const rates = new Map<number, number[]>(COUNTS.map((count) => [count, []]));
      for (let round = 0; round < (quick ? 1 : 4); round++) {
        for (const count of COUNTS) {
          const rate = await drain(database, url, texts, count);
          say(`${count} workers: ${rate.toFixed(0)} rows/s`);
          rates.get(count)!.push(rate);
        }
      }
      const alone = rates.get(1)!;
      return COUNTS.flatMap((count): Figure[] => {
        const runs = rates.get(count)!;
        const rate = { name: `${count} workers`, value: median(runs), unit: 'rows/s', runs };
        if (count === 1) return [{ ...rate, name: '1 worker' }];
        const ratios = runs.map((each, i) => each / alone[i]!);
        return [
          rate,
          {
            name: `${count} workers / 1`,
            value: median(ratios),
            unit: 'x',
            runs: ratios,
            bar: { atLeast: 0.95 },
          },
        ];
      });
    } finally {
      await database.drop();
    }
  },
};

/** Rows a second from the opening of the queue to the last vector. */
async function drain(
  { client }: BenchDatabase,
  url: string,
  texts: readonly string[],
  count: number,
): Promise<number> {
  await client.query(`select embedder.pause_pipeline('gloss'); truncate gloss restart identity`);
  await client.query('insert into gloss (body) select unnest($1::text[])', [texts]);
  await client.query('vacuum analyze gloss');
  await client.query('vacuum analyze embedder.job');
  await client.query('checkpoint');
  const started = await Promise.all(Array.from({ length: count }, () => startWorker(url)));
  try {
    const begin = performance.now();
    await client.query(`select embedder.resume_pipeline('gloss')`);
    for (;;) {
      const { rowCount } = await client.query('select from embedder.job limit 1');
      if (rowCount === 0) break;
      await wait(5);
    }
    return (texts.length * 1_000) / (performance.now() - begin);
  } finally {
    await Promise.all(started.map(stopWorker));
  }
}

async function startWorker(url: string): Promise<ChildProcess> {
  const worker = fork(fileURLToPath(new URL('../support/instant-worker.ts', import.meta.url)), {
    env: { ...process.env, DATABASE_URL: url },
  });
  await once(worker, 'message');
  return worker;
}

async function stopWorker(worker: ChildProcess): Promise<void> {
  worker.kill('SIGTERM');
  await once(worker, 'exit');
}
