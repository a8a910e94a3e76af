import { setTimeout as wait } from 'node:timers/promises';
import type pg from 'pg';
import type { Bench, Figure, Row } from '../row.ts';
import { type BenchDatabase, createBenchDatabase } from '../support/database.ts';
import { cpuOfTree, parentOf } from '../support/processes.ts';
import { quantile } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';
import { startWorkCommand, stopWorkCommand } from '../support/worker-command.ts';

const MANY = 500;
/** Until a worker that may be quiet is: a minute without work, and what it does after its start. */
const QUIET_SECONDS = 80;

/** Many pipelines in one database: what a worker without work asks and takes, and how long a lone row waits beside a bulk load. */
export const pipelines: Row = {
  name: 'pipelines',
  title: 'many pipelines: a worker without work, and a lone row beside a bulk load',
  async measure(bench) {
    const one = await createBenchDatabase(bench.server, 'pipelines_one');
    const many = await createBenchDatabase(bench.server, 'pipelines_many');
    try {
      await declare(one, 1);
      await declare(many, MANY);
      return [
        ...(await measureIdle(bench, one, '1 pipeline')),
        ...(await measureIdle(bench, many, `${MANY} pipelines`)),
        ...(await measureIdle(bench, many, `${MANY} pipelines, quiet`, { PGEMBEDDER_QUIET_IDLE: '3600' })),
        ...(await measureLoneRows(bench, many)),
      ];
    } finally {
      await one.drop();
      await many.drop();
    }
  },
};

async function declare({ client }: BenchDatabase, pipelines: number): Promise<void> {
  for (let i = 0; i < pipelines; i++) {
    await client.query(`create table note_${i} (id bigint generated always as identity primary key, body text);
      select embedder.create_pipeline('note_${i}', 'body', index => 'none')`);
  }
}

/** Transactions and CPU time a minute of a worker that has nothing to do, and of the server for it. */
async function measureIdle(
  { quick, say }: Bench,
  { client, url }: BenchDatabase,
  name: string,
  environment: Record<string, string> = {},
): Promise<Figure[]> {
  const seconds = quick ? 10 : 60;
  const worker = startWorkCommand(url, environment);
  try {
    await wait(('PGEMBEDDER_QUIET_IDLE' in environment ? QUIET_SECONDS : quick ? 10 : 30) * 1_000);
    const server = parentOf(
      (await client.query<{ pid: number }>('select pg_backend_pid() as pid')).rows[0]!.pid,
    );
    const look = async () => ({
      transactions: await transactions(client),
      worker: cpuOfTree(worker.pid!),
      server: cpuOfTree(server),
    });
    const before = await look();
    await wait(seconds * 1_000);
    const after = await look();
    const aMinute = (key: keyof typeof before, unit: string, title: string) => {
      const value = ((after[key] - before[key]) * 60) / seconds;
      say(`${name}: ${title} ${value.toFixed(0)} ${unit}`);
      return { name: `idle, ${name}: ${title} a minute`, value, unit };
    };
    return [
      aMinute('transactions', '', 'transactions'),
      aMinute('worker', 'ms', 'CPU of the worker'),
      aMinute('server', 'ms', 'CPU of the server'),
    ];
  } finally {
    await stopWorkCommand(worker);
  }
}

/** Transactions that sessions of this database have ended. Sessions report them once a second; ours is among them. */
async function transactions(client: pg.Client): Promise<number> {
  await wait(1_500);
  const { rows } = await client.query<{ n: number }>(
    `select (xact_commit + xact_rollback)::float8 as n from pg_stat_database where datname = current_database()`,
  );
  return rows[0]!.n;
}

/** How long single rows wait for their vector, in turn in other pipelines, while one has a bulk load on its queue. */
async function measureLoneRows({ quick, say }: Bench, { client, url }: BenchDatabase): Promise<Figure[]> {
  const bulk = await glosses(quick ? 5_000 : 60_000);
  const lone = quick ? 5 : 40;
  const worker = startWorkCommand(url);
  try {
    await client.query('insert into note_0 (body) select unnest($1::text[])', [bulk]);
    await seen(client, 'note_0', 1);
    const waits: number[] = [];
    for (let i = 0; i < lone; i++) {
      const table = `note_${1 + ((i * 37) % (MANY - 1))}`;
      const begin = performance.now();
      const { rows } = await client.query<{ id: string }>(
        `insert into ${table} (body) values ($1) returning id`,
        [bulk[i]],
      );
      await seen(client, table, Number(rows[0]!.id));
      waits.push(performance.now() - begin);
      await wait(200 * Math.random());
    }
    const { rows } = await client.query<{ left: number }>(
      `select count(*)::int as left from embedder.job where pipeline_id = (select id from embedder.pipeline where name = 'note_0')`,
    );
    if (rows[0]!.left === 0) throw new Error('the bulk load had ended before the last of the lone rows');
    say(`${rows[0]!.left} rows of the bulk load were left`);
    return [
      { name: 'lone row beside a bulk load: p50', value: quantile(waits, 0.5), unit: 'ms' },
      {
        name: 'lone row beside a bulk load: longest',
        value: Math.max(...waits),
        unit: 'ms',
        runs: waits,
        bar: { atMost: 1_000 },
      },
    ];
  } finally {
    await stopWorkCommand(worker);
  }
}

async function seen(client: pg.Client, table: string, id: number): Promise<void> {
  const begin = performance.now();
  for (;;) {
    const { rowCount } = await client.query(`select from ${table}_embedding where id = $1`, [id]);
    if (rowCount === 1) return;
    if (performance.now() - begin > 60_000) throw new Error('a row got no vector within a minute');
    await wait(2);
  }
}
