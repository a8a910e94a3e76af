import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import pg from 'pg';
import { pino } from 'pino';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { openDatabase } from '../../../src/database/database.ts';
import { migrate } from '../../../src/database/migrate/migrate.ts';
import { type EmbeddedPostgres, startEmbedded } from '../../../src/embedded/start-embedded.ts';
import { knownModels } from '../../support/pgembedder.ts';

// The embedded Postgres is 18, which has these and the others have not.
let directory: string;
let embedded: EmbeddedPostgres;
let client: pg.Client;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'pgembedder-refusals-'));
  embedded = await startEmbedded(directory, { logger: pino({ enabled: false }) });
  const database = openDatabase(embedded.url, 1);
  await migrate(database, knownModels());
  await database.destroy();
  client = new pg.Client({ connectionString: embedded.url });
  await client.connect();
});
afterAll(async () => {
  await client.end();
  await embedded.stop();
  await rm(directory, { recursive: true });
});

it.each([
  [
    'an input that names a virtual generated column',
    `create table doc (id int primary key, body text, shown text generated always as (upper(body)) virtual)`,
    `select embedder.create_pipeline('doc', '{body} {shown}')`,
    'column "shown" of public.doc is a virtual generated column, and triggers do not see when it changes',
  ],
  [
    'a key without overlaps',
    `create table price (rooms int4range, valid_at daterange, body text, primary key (rooms, valid_at without overlaps))`,
    `select embedder.create_pipeline('price', 'body')`,
    'table public.price has a primary key "without overlaps", by which one row cannot be told from another',
  ],
])('%s is refused in one sentence', async (_, table, declaration, message) => {
  await client.query(table);
  await expect(client.query(declaration)).rejects.toMatchObject({
    message,
    hint: expect.stringMatching(/^Make /),
  });
});
