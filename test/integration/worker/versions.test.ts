import { once } from 'node:events';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  createMigratedDatabase,
  FakeEmbedder,
  type MigratedDatabase,
  workerOn,
} from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query(`create table doc (id int primary key, body text);
    select embedder.create_pipeline('doc', 'body', index => 'none')`);
});
afterAll(() => database.drop());

it('a worker claims nothing while the schema is of another version, says so, and goes on when it fits again', async () => {
  const lines: string[] = [];
  const logger = pino({ level: 'warn' }, { write: (line: string) => void lines.push(line) });
  const worker = workerOn(database, { logger, embedder: new FakeEmbedder() });
  const note = async () =>
    (await database.query<{ note: string | null }>('select note from embedder.worker')).rows[0]!.note;
  await worker.start();
  try {
    await database.query(
      `update embedder.applied_file set sha256 = 'x' || sha256; notify embedder_job, 'pipeline'`,
    );
    await pollUntil(async () => /another version/.test((await note()) ?? ''), { what: 'the note' });
    expect(lines.filter((line) => line.includes('another version'))).toHaveLength(1);
    await database.query(`insert into doc values (1, 'text')`);
    await once(worker.events, 'idle');
    await once(worker.events, 'idle');
    expect(worker.stats.embedded).toBe(0);
    await database.query(
      `update embedder.applied_file set sha256 = substr(sha256, 2); notify embedder_job, 'pipeline'`,
    );
    await pollUntil(() => worker.stats.embedded === 1, { what: 'the row' });
    expect(await note()).toBeNull();
  } finally {
    await worker.stop();
  }
});
