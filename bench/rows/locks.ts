import pg from 'pg';
import type { Bench, Figure, Row } from '../row.ts';
import { migrate } from '../support/built.ts';
import { type BenchDatabase, createBenchDatabase } from '../support/database.ts';

const WRITERS = 16;
const BAR = { atMost: 300 };
/** Writers run so long before and after a step. */
const AROUND_MS = 1_000;

/**
 * The longest that a writer of the source waits while something is done about its pipeline: 16 clients insert and update single
 * rows of a partitioned table, and each statement's time is noted.
 */
export const locks: Row = {
  name: 'locks',
  title: 'longest wait of a writer while a pipeline is declared, changed and looked after',
  async measure(bench) {
    const database = await createBenchDatabase(bench.server, 'locks');
    try {
      return await measureSteps(
        bench,
        database,
        Number(process.env.BENCH_ROWS ?? (bench.quick ? 200_000 : 5_000_000)),
      );
    } finally {
      await database.drop();
    }
  },
};

async function measureSteps({ say }: Bench, database: BenchDatabase, rows: number): Promise<Figure[]> {
  const { client, kysely, url } = database;
  await client.query(`create table note (id bigint generated always as identity primary key, body text) partition by range (id);
    create table note_1 partition of note for values from (0) to (1000000000)`);
  await client.query(`insert into note (body) select 'note ' || i from generate_series(1, ${rows}) i`);
  await client.query('vacuum analyze note');
  await client.query('create table other (id int primary key, body text)');
  await client.query(`select embedder.create_pipeline('other', 'body', index => 'none')`);
  const follow = () => client.query(`select embedder.follow_tables(id) from embedder.changed_pipelines() id`);
  const steps: [name: string, work: () => Promise<unknown>][] = [
    ['nothing', async () => {}],
    [
      'create_pipeline',
      () => client.query(`select embedder.create_pipeline('note', 'body', index => 'none')`),
    ],
    [
      'count by a worker',
      () => client.query(`select embedder.count_pipeline(id) from embedder.uncounted_pipelines() id`),
    ],
    [
      'alter_pipeline, next generation',
      () => client.query(`select embedder.alter_pipeline('note', input => '{body}!')`),
    ],
    [
      'cutover',
      async () => {
        await client.query(`update embedder.pipeline set filled_at = now() where not live`);
        await client.query(`select embedder.cutover('note')`);
      },
    ],
    [
      'alter_pipeline, filter',
      () => client.query(`select embedder.alter_pipeline('note', filter => 'id % 2 = 0')`),
    ],
    [
      'a new partition',
      async () => {
        await client.query(
          'create table note_2 partition of note for values from (1000000000) to (2000000000)',
        );
        await follow();
        await follow();
      },
    ],
    [
      'an error, tried again',
      async () => {
        await client.query(
          `update embedder.pipeline set error = 'a full disk', error_at = now() where name = 'note'`,
        );
        await client.query(`select embedder.refresh_pipeline(id) from embedder.pipeline where name = 'note'`);
      },
    ],
    [
      'migrate, beside an idle transaction',
      async () => {
        await client.query(`update embedder.applied_file set sha256 = 'x' where name like 'sql/%'`);
        const idle = new pg.Client({ connectionString: url });
        await idle.connect();
        await idle.query(`begin; insert into other values (1, 'x'); insert into note (body) values ('x')`);
        try {
          await migrate(kysely);
        } finally {
          await idle.end();
        }
      },
    ],
    ['drop_pipeline', () => client.query(`select embedder.drop_pipeline('note', drop_target => true)`)],
  ];
  const figures: Figure[] = [];
  for (const [name, work] of steps) {
    const { longest, seconds } = await beside(url, rows, work);
    say(`${name}: ${seconds.toFixed(1)} s, longest wait ${longest.toFixed(0)} ms`);
    figures.push({
      name,
      value: longest,
      unit: 'ms',
      note: `took ${seconds.toFixed(1)} s`,
      ...(name !== 'nothing' && { bar: BAR }),
    });
  }
  return figures;
}

/** Does a step while the writers write; gives back their longest statement, and how long the step took. */
async function beside(url: string, rows: number, work: () => Promise<unknown>) {
  let longest = 0;
  let writing = true;
  const write = async () => {
    const writer = new pg.Client({ connectionString: url });
    await writer.connect();
    while (writing) {
      const id = Math.ceil(Math.random() * rows);
      const begin = performance.now();
      await writer.query(`insert into note (body) values ('written')`);
      await writer.query(`update note set body = 'written again' where id = ${id}`);
      longest = Math.max(longest, performance.now() - begin);
    }
    await writer.end();
  };
  const writers = Array.from({ length: WRITERS }, write);
  await pause(AROUND_MS);
  const begin = performance.now();
  await work();
  const seconds = (performance.now() - begin) / 1_000;
  await pause(AROUND_MS);
  writing = false;
  await Promise.all(writers);
  return { longest, seconds };
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
