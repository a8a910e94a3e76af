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

/**
 * Waits until a pipeline has done what was asked of it: no row waits, no worker holds one, no backfill is under way. Rows
 * that have used up their attempts are not waited for.
 * @throws UserError when it does not work, is paused, or is not done in time
 * @example
 * await sql`insert into articles (title, body) values ('Refunds', 'Within 30 days.')`.execute(database);
 * await waitFor(database, 'articles');
 */
export async function waitFor(
  database: Database,
  pipeline: string,
  { timeoutMs = 30_000, signal, onWait }: WaitSettings = {},
): Promise<void> {
  const end = performance.now() + timeoutMs;
  for (let first = true; ; first = false) {
    const found = await readProgress(database, pipeline);
    if (found.state === 'error')
      throw new UserError(`pipeline "${pipeline}" does not work: ${found.error}`, {
        hint: 'Run: pgembedder doctor',
      });
    if (isDone(found)) return;
    if (found.state === 'paused')
      throw new UserError(`pipeline "${pipeline}" is paused`, {
        hint: `Run: pgembedder pipeline resume ${pipeline}`,
      });
    if (performance.now() >= end) throw notDone(pipeline, found, timeoutMs);
    if (first) onWait?.();
    await wait(POLL_MS, undefined, signal ? { signal } : {});
  }
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
