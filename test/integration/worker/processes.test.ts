import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  countWrites,
  createMigratedDatabase,
  jobCount,
  type MigratedDatabase,
  openReference,
  readVectors,
  wrongKeys,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';
import { startWorkerProcess } from '../../support/worker-process.ts';

const ROWS = 10_000;
let database: MigratedDatabase;
let written: Awaited<ReturnType<typeof countWrites>>;
const reference = openReference();

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table doc (id int primary key, body text);
    insert into doc select i, 'number ' || i from generate_series(1, ${ROWS}) i;
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
  written = await countWrites(database, 'doc_embedding');
});
afterAll(async () => {
  await reference.close();
  await database.drop();
});

describe('two worker processes and 10,000 rows', () => {
  it('share them: each row is written once, by one of them, and rightly', async () => {
    const options = { connection: database.url, engine: { engines: 1, threads: 1 }, window: 512 };
    const workers = await Promise.all([startWorkerProcess(options), startWorkerProcess(options)]);
    const { rows: registered } = await database.query(`select listening, alive from embedder.worker`);
    expect(registered).toEqual([
      { listening: true, alive: true },
      { listening: true, alive: true },
    ]);
    await pollUntil(async () => (await jobCount(database)) === 0, {
      what: 'an empty queue',
      deadline: 150_000,
      every: 100,
    });
    const stats = await Promise.all(workers.map((worker) => worker.stop()));
    expect(stats[0]!.embedded + stats[1]!.embedded).toBe(ROWS);
    for (const { embedded } of stats) expect(embedded).toBeGreaterThan(ROWS / 20);
    for (const stat of stats) expect(stat).toMatchObject({ superseded: 0, retried: 0, dead: 0 });
    expect(await written()).toEqual({ rows: ROWS, writes: ROWS });
    const { rows: counts } = await database.query(
      `select (select count(*)::int from doc_embedding) as vectors, (select count(*)::int from embedder.worker) as workers`,
    );
    expect(counts).toEqual([{ vectors: ROWS, workers: 0 }]);
    const sample = Array.from({ length: 50 }, (_, i) => 1 + i * 203);
    const wanted = await reference.embed(sample.map((id) => `number ${id}`));
    expect(
      wrongKeys(
        await readVectors(
          database,
          `select id, embedding from doc_embedding where id = any (array[${sample.join()}])`,
        ),
        new Map(sample.map((id, i) => [String(id), wanted[i]!])),
        0.985,
      ),
    ).toEqual([]);
  }, 180_000);
});
