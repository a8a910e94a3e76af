import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** Whether the extension is there by which embedder.embed posts a text that the cache does not have. */
export async function hasDblink(database: Database): Promise<boolean> {
  const { rows } = await sql<{ found: boolean }>`
    select exists (select from pg_extension where extname = 'dblink') as found`.execute(database);
  return rows[0]!.found;
}

/** Has a text embedded that no cache has, and waits for a moment only: for the way to the queue, not for the vector. */
export async function tryEmbed(database: Database, text: string): Promise<void> {
  await database.transaction().execute(async (transaction) => {
    await sql`set local embedder.embed_timeout = '1ms'`.execute(transaction);
    await sql`select embedder.embed(${text})`.execute(transaction);
  });
}
