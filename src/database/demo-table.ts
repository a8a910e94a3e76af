import { sql } from 'kysely';
import { UserError } from '../errors.ts';
import type { Database } from './database.ts';

/** The table of `pgembedder demo`. */
export const DEMO_TABLE = 'wordnet';

/** A row of it. Rows are numbered from 1, and inserted in that order. */
export interface DemoRow {
  readonly word: string;
  readonly pos: string;
  readonly gloss: string;
}

/** Makes the table, unless it is there. @throws UserError when there is another one of that name */
export async function makeDemoTable(database: Database): Promise<void> {
  await sql`create table if not exists ${sql.id(DEMO_TABLE)} (
    id int primary key, word text not null, pos text not null, gloss text not null)`.execute(database);
  const { rows } = await sql<{ columns: number }>`
    select count(*) as columns from pg_attribute
    where attrelid = ${DEMO_TABLE}::regclass and attname in ('id', 'word', 'pos', 'gloss') and not attisdropped`.execute(
    database,
  );
  if (rows[0]!.columns !== 4) {
    throw new UserError(`table ${DEMO_TABLE} of this database is not the demo's`, {
      hint: 'Name another database, or leave --database-url out',
    });
  }
}

/** How many rows there are. */
export async function countDemoRows(database: Database): Promise<number> {
  const { rows } = await sql<{ count: number }>`select count(*) as count from ${sql.id(DEMO_TABLE)}`.execute(
    database,
  );
  return rows[0]!.count;
}

/** The number of the last row that was inserted; 0 when there is none. */
export async function lastDemoRow(database: Database): Promise<number> {
  const { rows } = await sql<{ last: number }>`
    select coalesce(max(id), 0) as last from ${sql.id(DEMO_TABLE)}`.execute(database);
  return rows[0]!.last;
}

/** Inserts rows, the first of them with the number after `before`. */
export async function insertDemoRows(
  database: Database,
  rows: readonly DemoRow[],
  before: number,
): Promise<void> {
  await sql`
    insert into ${sql.id(DEMO_TABLE)} (id, word, pos, gloss)
    select * from unnest(
      ${rows.map((_, i) => before + i + 1)}::int[], ${rows.map(({ word }) => word)}::text[],
      ${rows.map(({ pos }) => pos)}::text[], ${rows.map(({ gloss }) => gloss)}::text[])
    on conflict do nothing`.execute(database);
}

/** The words and parts of speech of rows by their numbers. */
export async function readWords(
  database: Database,
  ids: readonly number[],
): Promise<Map<number, { word: string; pos: string }>> {
  const { rows } = await sql<{ id: number; word: string; pos: string }>`
    select id, word, pos from ${sql.id(DEMO_TABLE)} where id = any (${ids}::int[])`.execute(database);
  return new Map(rows.map(({ id, word, pos }) => [id, { word, pos }]));
}
