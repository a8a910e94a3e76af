import { afterAll, beforeAll, expect, it } from 'vitest';
import { splitText, splitTextInSlices } from '../../../src/chunking/chunking.ts';
import {
  createMigratedDatabase,
  FakeEmbedder,
  jobCount,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

const DOCUMENTS = 24;
let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table doc (id int primary key, body text)`);
});
afterAll(() => database.drop());

/** About 300 kB of words, and no two alike. */
const document = (i: string) =>
  `(select string_agg('word' || ((g * ${i}) % 9973), ' ') from generate_series(1, 33000) g)`;

it('others have their turn while a long text is cut, and the chunks are the same', async () => {
  const text = Array.from({ length: 60_000 }, (_, i) => `word${i % 977}.`).join(' ');
  const chunking = { strategy: 'recursive', size: 64, overlap: 8 } as const;
  const counter = { count: (part: string) => part.split(/\s+/).length };
  let turns = 0;
  const timer = setInterval(() => turns++, 1);
  const chunks = await splitTextInSlices(text, chunking, counter);
  clearInterval(timer);
  expect(turns).toBeGreaterThan(1);
  expect(chunks).toEqual(splitText(text, chunking, counter));
});

it('two workers cut large documents into chunks, and neither loses a lease', async () => {
  await database.query(`select embedder.create_pipeline('doc', 'body', index => 'none', enqueue_existing => false,
    chunking => '{"strategy": "recursive", "size": 200, "overlap": 20}')`);
  await database.query(`insert into doc select i, ${document('i')} from generate_series(1, ${DOCUMENTS}) i`);
  const workers = [0, 1].map(() => workerOn(database, { embedder: new FakeEmbedder(), window: 8 }));
  const lost: string[] = [];
  for (const worker of workers) {
    worker.events.on('leasesLost', () => lost.push('a lease'));
    worker.events.on('registeredAnew', () => lost.push('its number'));
    await worker.start();
  }
  let attempts = 0;
  await pollUntil(
    async () => {
      const { rows } = await database.query<{ most: number | null }>(
        'select max(attempts) as most from embedder.job',
      );
      attempts = Math.max(attempts, rows[0]!.most ?? 0);
      return (await jobCount(database)) === 0;
    },
    { what: 'the end of the queue', deadline: 100_000, every: 200 },
  );
  for (const worker of workers) await worker.stop();
  expect({ lost, attempts }).toEqual({ lost: [], attempts: 1 });
  expect((await database.query('select distinct id from doc_embedding')).rowCount).toBe(DOCUMENTS);
}, 120_000);
