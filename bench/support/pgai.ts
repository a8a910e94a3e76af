import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import type { TestServer } from '../../test/support/server.ts';
import { type BenchDatabase, createBenchDatabase } from './database.ts';

const run = promisify(execFile);
const folder = fileURLToPath(new URL('../rivals/pgai/', import.meta.url));
const python = `${folder}.venv/bin/python`;

/** How to install pgai, or undefined when it is there. */
export function pgaiMissing(): string | undefined {
  if (existsSync(python)) return undefined;
  return 'pgai is not installed: cd bench/rivals/pgai && python3 -m venv .venv && .venv/bin/pip install -r requirements.txt';
}

/** Rows a second of pgai's worker with a provider that answers at once, on a table of the same shape. */
export async function drainWithPgai(
  server: TestServer,
  texts: readonly string[],
  { concurrency, batchSize }: { concurrency: number; batchSize: number },
): Promise<number> {
  const database: BenchDatabase = await createBenchDatabase(server, 'pgai');
  try {
    const { client, url } = database;
    await client.query('create table gloss (id bigint generated always as identity primary key, body text)');
    await client.query('insert into gloss (body) select unnest($1::text[])', [texts]);
    const { stdout } = await run(python, [`${folder}drain.py`, url, `${concurrency}`, `${batchSize}`]);
    const { seconds } = JSON.parse(stdout.trim().split('\n').at(-1)!) as { seconds: number };
    const { rows } = await client.query<{ n: number }>('select count(*)::int as n from gloss_pgai_embedding');
    if (rows[0]?.n !== texts.length)
      throw new Error(`pgai gave ${rows[0]?.n} vectors for ${texts.length} rows`);
    return texts.length / seconds;
  } finally {
    await database.drop();
  }
}
