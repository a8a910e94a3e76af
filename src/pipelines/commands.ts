import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** Removes a pipeline with its jobs and triggers. @param dropTarget whether what it has written goes as well */
export async function dropPipeline(database: Database, name: string, dropTarget: boolean): Promise<void> {
  await sql`select embedder.drop_pipeline(${name}, ${dropTarget})`.execute(database);
}

/** Makes the next generation of a pipeline the live one. */
export async function cutOver(database: Database, name: string): Promise<void> {
  await sql`select embedder.cutover(${name})`.execute(database);
}

/** Lets changes gather without being embedded. */
export async function pausePipeline(database: Database, name: string): Promise<void> {
  await sql`select embedder.pause_pipeline(${name})`.execute(database);
}

/** Ends a pause, and clears an error. */
export async function resumePipeline(database: Database, name: string): Promise<void> {
  await sql`select embedder.resume_pipeline(${name})`.execute(database);
}
