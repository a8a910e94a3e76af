import { setTimeout as wait } from 'node:timers/promises';
import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { UserError } from '../errors.ts';

/** How `waitFor` waits. */
export interface WaitSettings {
  /** Default: 30 s. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  /** Called once, when there is something to wait for. */
  onWait?(): void;
}

const POLL_MS = 100;

/** How far a pipeline is, as embedder.status has it. */
interface Progress {
  state: string;
  error: string | null;
  jobs: number;
  backfill: number;
  workers: number;
}

/** The key of a row, as embedder.enqueue_embed takes it; of several columns as a jsonb object's text. */
export type RowKey = string | number | bigint;

/**
 * Waits until a pipeline has done what was asked of it: no row waits, no worker holds one, no backfill is under way. With a key, until
 * that row is done, as it was at the call. Rows that have used up their attempts are not waited for.
 * @throws UserError when it does not work, is paused, or is not done in time
 * @example
 * await sql`insert into articles (id, body) values (7, 'Within 30 days.')`.execute(database);
 * await waitFor(database, 'articles');
 * await waitFor(database, 'articles', 7);
 */
export function waitFor(database: Database, pipeline: string, settings?: WaitSettings): Promise<void>;
export function waitFor(
  database: Database,
  pipeline: string,
  rowKey: RowKey,
  settings?: WaitSettings,
): Promise<void>;
export async function waitFor(
  database: Database,
  pipeline: string,
  second: RowKey | WaitSettings = {},
  third: WaitSettings = {},
): Promise<void> {
  const ofRow = typeof second !== 'object';
  const { timeoutMs = 30_000, signal, onWait } = ofRow ? third : second;
  const end = performance.now() + timeoutMs;
  const version = ofRow ? await readVersion(database, pipeline, String(second)) : null;
  for (let first = true; ; first = false) {
    const found = await readProgress(database, pipeline);
    if (found.state === 'error')
      throw new UserError(`pipeline "${pipeline}" does not work: ${found.error}`, {
        hint: 'Run: pgembedder doctor',
      });
    // A row that has no job is done, or a backfill is yet to find it.
    if (isDone(found)) return;
    if (version !== null && (await readVersion(database, pipeline, String(second))) !== version) return;
    if (ofRow && version === null && found.backfill === 0) return;
    if (found.state === 'paused')
      throw new UserError(`pipeline "${pipeline}" is paused`, {
        hint: `Run: pgembedder pipeline resume ${pipeline}`,
      });
    if (performance.now() >= end) throw notDone(pipeline, found, timeoutMs);
    if (first) onWait?.();
    await wait(POLL_MS, undefined, signal ? { signal } : {});
  }
}

/** The version of a row's job; null where it has none. */
async function readVersion(database: Database, pipeline: string, rowKey: string): Promise<string | null> {
  const { rows } = await sql<{ version: string }>`
    select version::text from embedder.waiting_job where pipeline = ${pipeline} and row_key = ${rowKey}`.execute(
    database,
  );
  return rows[0]?.version ?? null;
}

function isDone({ state, jobs, backfill }: Progress): boolean {
  return state !== 'filling' && jobs === 0 && backfill === 0;
}

function notDone(pipeline: string, { jobs, workers }: Progress, timeoutMs: number): UserError {
  const rows = jobs === 0 ? 'it is being filled' : `${jobs} ${jobs === 1 ? 'row waits' : 'rows wait'}`;
  const [why, hint] =
    workers === 0
      ? [', and no worker runs', 'Start one: pgembedder work']
      : ['', 'pgembedder status shows how far it is'];
  return new UserError(`pipeline "${pipeline}" is not done after ${timeoutMs / 1_000} s: ${rows}${why}`, {
    hint,
  });
}

async function readProgress(database: Database, pipeline: string): Promise<Progress> {
  const { rows } = await sql<Progress>`
    select s.state, s.error, s.pending + s.leased as jobs, s.backfill_rows_estimate as backfill,
      (select count(*) from embedder.worker w where w.alive) as workers
    from embedder.status s where s.pipeline = ${pipeline}`.execute(database);
  if (rows[0]) return rows[0];
  throw new UserError(`there is no pipeline "${pipeline}", or this role may not see how far it is`, {
    hint: 'pgembedder pipeline list shows those that it may; members of embedder_reader see all',
  });
}
