import type { Bench, Row } from '../row.ts';
import { definePipeline } from '../support/built.ts';
import { type BenchDatabase, createBenchDatabase } from '../support/database.ts';
import { memoryOfTree } from '../support/processes.ts';
import { median } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';
import { startWorkCommand, stopWorkCommand } from '../support/worker-command.ts';

/** A model is unloaded when it had nothing to do for so long. */
const IDLE_SECONDS = 2;

/**
 * How long it takes from starting `pgembedder work` to the first vector that another connection sees, one row being
 * due; and what memory the worker has, its engine included, before it has loaded a model, while it works, and after
 * it has unloaded the model.
 */
export const start: Row = {
  name: 'start',
  title: 'start to first vector, and the memory before and after work',
  async measure(bench) {
    const database = await createBenchDatabase(bench.server, 'start');
    const { client, kysely } = database;
    try {
      await client.query('create table note (id bigint generated always as identity primary key, body text)');
      await definePipeline(kysely, { source: 'note', input: 'body', index: 'none' });
      const times: number[] = [];
      for (let run = 0; run < (bench.quick ? 2 : 9); run++) times.push(await firstVector(database));
      const { before, working, after } = await memory(bench, database);
      return [
        { name: 'start to first vector', value: median(times), unit: 's', runs: times, bar: { atMost: 1.5 } },
        { name: 'memory before a model is loaded', value: before / 2 ** 20, unit: 'MiB' },
        { name: 'memory while it works', value: working / 2 ** 20, unit: 'MiB' },
        { name: 'memory after the idle unload', value: after / 2 ** 20, unit: 'MiB' },
        { name: 'after / before', value: after / before, unit: 'x', bar: { atMost: 1.1 } },
      ];
    } finally {
      await database.drop();
    }
  },
};

async function firstVector({ client, url }: BenchDatabase): Promise<number> {
  await client.query('truncate note, note_embedding');
  await client.query(`insert into note (body) values ('a person who studies insects')`);
  const begin = performance.now();
  const worker = startWorkCommand(url);
  await until(async () => (await client.query('select from note_embedding')).rowCount === 1);
  const seconds = (performance.now() - begin) / 1_000;
  await stopWorkCommand(worker);
  return seconds;
}

async function memory({ quick }: Bench, { client, url }: BenchDatabase) {
  await client.query('truncate note, note_embedding');
  const worker = startWorkCommand(url, { PGEMBEDDER_IDLE_SECONDS: String(IDLE_SECONDS) });
  const pid = worker.pid!;
  await until(async () => (await client.query('select from embedder.worker where idle')).rowCount === 1);
  const before = memoryOfTree(pid);
  const texts = await glosses(quick ? 2_000 : 20_000);
  await client.query('insert into note (body) select unnest($1::text[])', [texts]);
  let working = 0;
  await until(async () => {
    working = Math.max(working, memoryOfTree(pid));
    const { rows } = await client.query<{ done: boolean }>(
      'select count(*) = $1 as done from note_embedding',
      [texts.length],
    );
    return rows[0]!.done;
  }, 200);
  await new Promise((resolve) => setTimeout(resolve, (IDLE_SECONDS + 8) * 1_000));
  const after = memoryOfTree(pid);
  await stopWorkCommand(worker);
  return { before, working, after };
}

/** Looks again and again until it is so. */
async function until(isSo: () => Promise<boolean>, pauseMs = 1): Promise<void> {
  const limit = performance.now() + 300_000;
  while (!(await isSo())) {
    if (performance.now() > limit) throw new Error('it took longer than 5 minutes');
    await new Promise((resolve) => setTimeout(resolve, pauseMs));
  }
}
