import { sql } from 'kysely';
import type { Database } from '../database/database.ts';
import { inItsLetters } from '../database/letters.ts';

/** How soon a job is due: changed rows before those of a backfill. */
export type JobPriority = 'normal' | 'backfill';

/** A claimed job. */
export interface Job {
  readonly pipelineId: number;
  /** The row's primary key as text. */
  readonly rowKey: string;
  /** A new one whenever the job's row is queued again; a result is written only while this is still the job's version. */
  readonly version: number;
  /** Attempts so far, this one included. */
  readonly attempts: number;
  /** Jobs of a backfill wait until everything else is done. */
  readonly priority: JobPriority;
}

/** A worker's number, and how long its claims hold. */
export interface Claimant {
  readonly workerId: number;
  readonly leaseSeconds: number;
}

/**
 * Claims up to `limit` jobs of the given pipelines, in their order, the oldest due first.
 * @param lookBack for each pipeline: only what has been due for no longer than so many seconds; null for all that is due
 */
export async function claimJobs(
  database: Database,
  { workerId, leaseSeconds }: Claimant,
  pipelineIds: readonly number[],
  limit: number,
  lookBack: readonly (number | null)[] = [],
): Promise<Job[]> {
  const { rows } = await sql<ClaimedRow>`
    select pipeline_id, row_key, version, attempts
    from embedder.claim_jobs(${workerId}, ${pipelineIds}::int[], ${limit}, ${seconds(leaseSeconds)},
      array(select make_interval(secs => s) from unnest(${lookBack}::float8[]) with ordinality u(s, place) order by place))`.execute(
    database,
  );
  return rows.map((row) => jobOf(row, 'normal'));
}

/** Claims a group of rows, one of which may have killed the worker that held them. To be worked on alone. */
export async function claimSuspects(
  database: Database,
  claimant: Claimant,
  pipelineIds: readonly number[],
): Promise<Job[]> {
  const { rows } = await sql<ClaimedRow>`
    select pipeline_id, row_key, version, attempts
    from embedder.claim_suspects(${claimant.workerId}, ${pipelineIds}::int[], ${seconds(claimant.leaseSeconds)})`.execute(
    database,
  );
  return rows.map((row) => jobOf(row, 'normal'));
}

/**
 * Claims up to `limit` rows out of the backfills of the given pipelines.
 * @returns `more`: ask again in a moment; it walked many rows that need no job, or somebody has rows locked
 */
export async function claimBackfill(
  database: Database,
  claimant: Claimant,
  pipelineIds: readonly number[],
  limit: number,
): Promise<{ jobs: Job[]; more: boolean }> {
  const { rows } = await sql<ClaimedRow>`
    select pipeline_id, row_key, version, attempts
    from embedder.claim_backfill(${claimant.workerId}, ${pipelineIds}::int[], ${limit}, ${seconds(claimant.leaseSeconds)})`.execute(
    database,
  );
  const jobs = rows.filter((row) => row.row_key !== null).map((row) => jobOf(row, 'backfill'));
  return { jobs, more: jobs.length < rows.length };
}

/** Those of the given pipelines whose backfill has rows to walk, in their order; `soon`: not now, but in a moment. */
export async function backfillsDue(
  database: Database,
  pipelineIds: readonly number[],
): Promise<{ pipelineId: number; soon: boolean }[]> {
  const { rows } = await sql<{ pipelineId: number; soon: boolean }>`
    select pipeline_id as "pipelineId", soon from embedder.backfills_due(${pipelineIds}::int[])`.execute(
    database,
  );
  return rows;
}

interface ClaimedRow {
  pipeline_id: number;
  row_key: string;
  version: number;
  attempts: number;
}

function jobOf(row: ClaimedRow, priority: JobPriority): Job {
  return {
    pipelineId: row.pipeline_id,
    rowKey: row.row_key,
    version: row.version,
    attempts: row.attempts,
    priority,
  };
}

/**
 * Notes that a batch of jobs of one pipeline begins, and which of the worker's batches have ended. Should the worker die,
 * what has begun is suspect.
 * @param batch a number that this worker has not used
 */
export async function beginBatch(
  database: Database,
  { workerId }: Claimant,
  batch: number,
  jobs: readonly Job[],
  ended: readonly number[],
): Promise<void> {
  await sql`select embedder.begin_batch(${workerId}, ${batch}, ${jobs[0]!.pipelineId},
    ${jobs.map((job) => job.rowKey)}::text[], ${ended}::int[])`.execute(database);
}

/** Whether rows are suspected of having killed a worker, and wait to be worked on alone. */
export async function suspectsWait(database: Database): Promise<boolean> {
  const { rows } = await sql<{ wait: boolean }>`select embedder.suspects_wait() as wait`.execute(database);
  return rows[0]!.wait;
}

/** What another worker holds. */
export interface HeldElsewhere {
  readonly worker: number;
  /** Its last sign of life; null when it is not on the register any more. */
  readonly beatAt: Date | null;
  readonly rows: number;
}

/** The leases that other workers have. */
export async function leasedElsewhere(database: Database, { workerId }: Claimant): Promise<HeldElsewhere[]> {
  const { rows } = await sql<HeldElsewhere>`
    select holder as worker, beat_at as "beatAt", leased as rows from embedder.leased_elsewhere(${workerId})`.execute(
    database,
  );
  return rows;
}

/** Of jobs of one pipeline: the row keys of those this worker still holds (neither done, nor changed, nor taken over). */
export async function heldJobs(
  database: Database,
  claimant: Claimant,
  jobs: readonly Job[],
): Promise<Set<string>> {
  const { rows } = await sql<{ row_key: string }>`
    select row_key from embedder.held_jobs(${claimant.workerId}, ${columns(jobs)}) row_key`.execute(database);
  return new Set(rows.map((row) => row.row_key));
}

/** Prolongs the leases of jobs of one pipeline. */
export async function renewLeases(
  database: Database,
  claimant: Claimant,
  jobs: readonly Job[],
): Promise<void> {
  await sql`select embedder.renew_leases(${claimant.workerId}, ${columns(jobs)}, ${seconds(claimant.leaseSeconds)})`.execute(
    database,
  );
}

/** Gives jobs of one pipeline back, due again after `delaySeconds`, without counting the attempt. */
export async function releaseJobs(
  database: Database,
  claimant: Claimant,
  jobs: readonly Job[],
  delaySeconds: number,
): Promise<void> {
  await sql`select embedder.release_jobs(${claimant.workerId}, ${columns(jobs)}, ${seconds(delaySeconds)})`.execute(
    database,
  );
}

/** How long failed jobs wait, in seconds. */
export interface Backoff {
  readonly baseSeconds: number;
  readonly limitSeconds: number;
}

/**
 * Books a failed attempt for each of the given jobs of one pipeline: retry later, or dead letter.
 * @returns how many became dead letters, and how many will be tried again
 */
export async function failJobs(
  database: Database,
  claimant: Claimant,
  failures: readonly { job: Job; error: string }[],
  backoff: Backoff,
): Promise<{ dead: number; retried: number }> {
  const jobs = failures.map(({ job }) => job);
  const { rows } = await inItsLetters((lettered) =>
    sql<{ dead: boolean }>`
      select dead from embedder.fail_jobs(${claimant.workerId}, ${columns(jobs)}, ${failures.map(({ error }) => lettered(error))}::text[],
        ${seconds(backoff.baseSeconds)}, ${seconds(backoff.limitSeconds)})`.execute(database),
  );
  const dead = rows.filter((row) => row.dead).length;
  return { dead, retried: rows.length - dead };
}

/** The arguments (pipeline, row_keys, versions) that most functions of sql/queue/ take. */
function columns(jobs: readonly Job[]) {
  return sql`${jobs[0]!.pipelineId}, ${jobs.map((job) => job.rowKey)}::text[], ${jobs.map((job) => job.version)}::bigint[]`;
}

function seconds(value: number) {
  return sql`make_interval(secs => ${value})`;
}
