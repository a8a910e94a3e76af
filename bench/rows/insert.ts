import type { Bench, Figure, Row } from '../row.ts';
import { alternate } from '../support/alternate.ts';
import { type BenchDatabase, createBenchDatabase } from '../support/database.ts';
import { pgbench } from '../support/pgbench.ts';
import { median } from '../support/statistics.ts';
import { glosses } from '../support/texts.ts';

/** Whose the tables are: no superuser, and not the owner of schema embedder, as an application's role. */
const OWNER = 'bench_owner';
/** So many pipelines are in the database of the last comparison. */
const MANY = 200;

/** The register as writers find it: what a trigger does depends on nothing else of a worker. */
const REGISTERS = [
  { name: 'no worker', idle: null, bar: { atLeast: 0.75 } },
  { name: 'worker busy', idle: false, bar: { atLeast: 0.75 } },
  { name: 'worker idle, a NOTIFY each', idle: true, bar: { atLeast: 0.7 } },
];

/**
 * What a pipeline costs the writers of its source: one INSERT of 100,000 rows, and single inserts from 16 clients
 * (pgbench, prepared), each against a table of the same shape without a pipeline, in turn.
 *
 * No worker runs, since it would take the CPU that is measured; the register says that there is one, or none.
 */
export const insert: Row = {
  name: 'insert',
  title: 'inserts with the pipeline on',
  async measure(bench) {
    const database = await createBenchDatabase(bench.server, 'insert');
    const crowded = await createBenchDatabase(bench.server, 'insert_many');
    try {
      await database.client.query(`create role ${OWNER} login`);
      await declare(database, 1);
      await declare(crowded, MANY);
      return [
        ...(await measureBulk(bench, database)),
        ...(await measureSingles(bench, database)),
        ...(await measureMany(bench, database, crowded)),
      ];
    } finally {
      await database.drop();
      await crowded.drop();
    }
  },
};

/** The tables plain and piped, and so many pipelines, one of them on piped. */
async function declare({ client }: BenchDatabase, pipelines: number): Promise<void> {
  await client.query(`grant create on schema public to ${OWNER}; set role ${OWNER}`);
  const columns = '(id bigint generated always as identity primary key, body text)';
  await client.query(`create table plain ${columns}`);
  for (let i = 0; i < pipelines; i++) {
    const table = i === 0 ? 'piped' : `other_${i}`;
    await client.query(`create table ${table} ${columns}`);
    await client.query(`select embedder.create_pipeline($1, 'body', index => 'none')`, [table]);
  }
  await client.query('reset role');
}

async function measureBulk({ quick, say }: Bench, { client }: BenchDatabase): Promise<Figure[]> {
  const texts = await glosses(quick ? 20_000 : 100_000);
  // In the server before the clock starts: it is not the sending of 7 MB that is measured.
  await client.query(`create table gloss (bodies text[]); grant select on gloss to ${OWNER}`);
  await client.query('insert into gloss values ($1)', [texts]);
  const rate = async (table: string) => {
    await reset(client);
    await client.query(`set role ${OWNER}`);
    const begin = performance.now();
    await client.query(`insert into ${table} (body) select unnest(bodies) from gloss`);
    const rowsPerSecond = (texts.length * 1_000) / (performance.now() - begin);
    await client.query('reset role');
    say(`bulk insert, ${table}: ${rowsPerSecond.toFixed(0)} rows/s`);
    return rowsPerSecond;
  };
  await rate('piped');
  const { a, b, ratio, ratios } = await alternate(
    quick ? 2 : 6,
    () => rate('piped'),
    () => rate('plain'),
  );
  return [
    { name: 'bulk, with pipeline', value: median(a), unit: 'rows/s', runs: a, bar: { atLeast: 100_000 } },
    { name: 'bulk, without', value: median(b), unit: 'rows/s', runs: b },
    { name: 'bulk, with / without', value: ratio, unit: 'x', runs: ratios, bar: { atLeast: 0.5 } },
  ];
}

async function measureSingles({ server, quick, say }: Bench, database: BenchDatabase): Promise<Figure[]> {
  const { client } = database;
  const figures: Figure[] = [];
  for (const { name, idle, bar } of REGISTERS) {
    await client.query('delete from embedder.worker_process');
    await client.query(`select setval('embedder.asleep', $1::boolean::int)`, [idle === true]);
    if (idle !== null) {
      await client.query(
        `insert into embedder.worker_process (hostname, pid, version, listening, idle, beat_at)
         values ('bench', 0, 'bench', true, $1, now() + interval '1 day')`,
        [idle],
      );
    }
    const rate = async (table: string) => {
      const tps = await singles(server, database, table, quick);
      say(`single inserts, ${name}, ${table}: ${tps.toFixed(0)} a second`);
      return tps;
    };
    const { a, b, ratio, ratios } = await alternate(
      quick ? 1 : 5,
      () => rate('piped'),
      () => rate('plain'),
    );
    figures.push({ name: `single, ${name}: with pipeline`, value: median(a), unit: 'tps', runs: a });
    figures.push({ name: `single, ${name}: without`, value: median(b), unit: 'tps', runs: b });
    figures.push({
      name: `single, ${name}: with / without`,
      value: ratio,
      unit: 'x',
      runs: ratios,
      ...(bar && { bar }),
    });
  }
  return figures;
}

/** One pipeline in the database, and many. */
async function measureMany(
  { server, quick, say }: Bench,
  one: BenchDatabase,
  many: BenchDatabase,
): Promise<Figure[]> {
  await one.client.query('delete from embedder.worker_process');
  const { a, b, ratio, ratios } = await alternate(
    quick ? 1 : 5,
    () => singles(server, many, 'piped', quick),
    () => singles(server, one, 'piped', quick),
  );
  say(`single inserts, ${MANY} pipelines: ${median(a).toFixed(0)} a second, one: ${median(b).toFixed(0)}`);
  return [
    {
      name: `single, no worker: ${MANY} pipelines / one`,
      value: ratio,
      unit: 'x',
      runs: ratios,
      bar: { atLeast: 0.95 },
    },
  ];
}

/** Single inserts a second from 16 clients. */
async function singles(
  server: Bench['server'],
  { client, name }: BenchDatabase,
  table: string,
  quick: boolean,
): Promise<number> {
  await reset(client);
  const statement = `insert into ${table} (body) values ('a person who studies insects, and draws them');`;
  return pgbench(server, name, statement, { user: OWNER, clients: 16, seconds: quick ? 1 : 4 });
}

/** Each run finds empty tables, and no checkpoint or vacuum of the run before is still under way. */
async function reset(client: BenchDatabase['client']): Promise<void> {
  await client.query('truncate plain, piped restart identity');
  await client.query('truncate embedder.job');
  await client.query('checkpoint');
}
