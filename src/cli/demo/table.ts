import { setTimeout as wait } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Database } from '../../database/database.ts';
import { UserError } from '../../errors.ts';
import { definePipeline } from '../../pipelines/define.ts';
import type { Gloss } from './wordnet.ts';

/** The demo's table and its pipeline. */
export const TABLE = 'wordnet';

/** Rows of one insert: small enough that Ctrl-C is heard, large enough to be quick. */
const ROWS_PER_INSERT = 1_000;
const LEASE_POLL_MS = 500;

/** How far a demo has come. */
export interface Filling {
  rows: number;
  /** Rows that wait for their vector. */
  waiting: number;
  /** Whether its index is built, or the worker has not noted the end of the filling. */
  finished: boolean;
}

/**
 * Makes the table and its pipeline, unless an earlier run has.
 * @throws UserError when there is another table of that name
 */
export async function prepareTable(database: Database): Promise<void> {
  await sql`create table if not exists ${sql.id(TABLE)} (
    id int primary key, word text not null, pos text not null, gloss text not null)`.execute(database);
  const { rows } = await sql<{ columns: number }>`
    select count(*) as columns from pg_attribute
    where attrelid = ${TABLE}::regclass and attname in ('id', 'word', 'pos', 'gloss') and not attisdropped`.execute(
    database,
  );
  if (rows[0]!.columns !== 4) {
    throw new UserError(`table ${TABLE} of this database is not the demo's`, {
      hint: 'Name another database, or leave --database-url out',
    });
  }
  // Before the rows: each then comes with its job in one transaction, so Ctrl-C leaves none without.
  await definePipeline(database, { source: TABLE, input: 'gloss', name: TABLE, ifNotExists: true });
}

/** How many rows there are. They are numbered from 1 and inserted in that order, so the highest number says it. */
export async function countRows(database: Database): Promise<number> {
  const { rows } = await sql<{
    highest: number;
  }>`select coalesce(max(id), 0) as highest from ${sql.id(TABLE)}`.execute(database);
  return rows[0]!.highest;
}

/** Inserts the glosses that are not there yet, a thousand at a time. */
export async function loadGlosses(
  database: Database,
  glosses: readonly Gloss[],
  signal: AbortSignal,
  onLoaded: (rows: number) => void,
): Promise<void> {
  for (let next = await countRows(database); next < glosses.length; next += ROWS_PER_INSERT) {
    signal.throwIfAborted();
    const part = glosses.slice(next, next + ROWS_PER_INSERT);
    await sql`
      insert into ${sql.id(TABLE)} (id, word, pos, gloss)
      select * from unnest(
        ${part.map((_, i) => next + i + 1)}::int[], ${part.map(({ word }) => word)}::text[],
        ${part.map(({ pos }) => pos)}::text[], ${part.map(({ gloss }) => gloss)}::text[])
      on conflict do nothing`.execute(database);
    onLoaded(next + part.length);
  }
}

/**
 * Waits until nobody holds rows of the demo: a run that was killed leaves leases behind, which are freed when its
 * heartbeat has been gone for 10 s, and a worker that lives embeds them itself.
 * @param onWait called before the first wait
 */
export async function awaitLeases(
  database: Database,
  signal: AbortSignal,
  onWait: () => void,
): Promise<void> {
  for (let waited = false; ; waited = true) {
    await sql`select embedder.rescue_jobs()`.execute(database);
    const { rows } = await sql<{ leased: number }>`
      select count(*) as leased from embedder.job j join embedder.pipeline p on p.id = j.pipeline_id
      where p.name = ${TABLE} and j.leased_by is not null and j.due_at > now()`.execute(database);
    if (rows[0]!.leased === 0) return;
    if (!waited) onWait();
    await wait(LEASE_POLL_MS, undefined, { signal });
  }
}

/** How far the filling is. @throws UserError when the pipeline cannot be filled */
export async function readFilling(database: Database): Promise<Filling> {
  const { rows } = await sql<Filling & { paused: boolean }>`
    select (select count(*) from ${sql.id(TABLE)}) as rows, p.paused,
      (select count(*) from embedder.job j where j.pipeline_id = p.id) as waiting,
      p.filled_at is not null
        and not exists (select from embedder.missing_indexes() m where m.pipeline = p.name) as finished
    from embedder.pipeline p where p.name = ${TABLE}`.execute(database);
  const { paused, ...filling } = rows[0]!;
  if (paused && filling.waiting > 0)
    throw new UserError(`pipeline ${TABLE} is paused`, { hint: `Run: pgembedder pipeline resume ${TABLE}` });
  return filling;
}

/** The words and parts of speech of rows by their numbers. */
export async function readWords(
  database: Database,
  ids: readonly number[],
): Promise<Map<number, { word: string; pos: string }>> {
  const { rows } = await sql<{ id: number; word: string; pos: string }>`
    select id, word, pos from ${sql.id(TABLE)} where id = any (${ids}::int[])`.execute(database);
  return new Map(rows.map(({ id, word, pos }) => [id, { word, pos }]));
}
