import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** The pipelines whose tables have changed since their functions were made. */
export async function changedPipelines(database: Database): Promise<number[]> {
  const { rows } = await sql<{ id: number }>`select id from embedder.changed_pipelines() id`.execute(
    database,
  );
  return rows.map(({ id }) => id);
}

/** What became of a pipeline whose tables have changed. */
export interface TableChange {
  readonly name: string;
  readonly outcome: 'dropped' | 'followed' | 'broken';
  /** Why it is broken. */
  readonly problem: string | null;
}

/** Has a pipeline follow the changes of its tables; null when they were not changed, or somebody has them locked. */
export async function followTables(database: Database, pipelineId: number): Promise<TableChange | null> {
  const { rows } = await sql<TableChange>`
    select name, outcome, problem from embedder.follow_tables(${pipelineId})`.execute(database);
  return rows[0] ?? null;
}

/** A pipeline whose rows may have changed while no trigger saw it; `problem`: why they could not be looked at. */
export interface UnseenChange {
  readonly name: string;
  readonly problem: string | null;
}

/** Begins a backfill of stale rows in each pipeline whose rows may have changed while no trigger saw it. */
export async function followUnseen(database: Database): Promise<UnseenChange[]> {
  const { rows } = await sql<UnseenChange>`
    select name, problem from embedder.follow_unseen()`.execute(database);
  return rows;
}
