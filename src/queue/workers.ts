import { sql } from 'kysely';
import type { Database } from '../database/database.ts';

/** What a worker says of itself when it goes on the register. */
export interface WorkerIdentity {
  readonly hostname: string;
  readonly pid: number;
  readonly version: string;
  /** Whether notifications arrive; a worker without them polls. */
  readonly listening: boolean;
}

/** Puts a worker on the register; returns its number. */
export async function registerWorker(database: Database, worker: WorkerIdentity): Promise<number> {
  const { id } = await database
    .insertInto('embedder.worker_process')
    .values(worker)
    .returning('id')
    .executeTakeFirstOrThrow();
  return id;
}

/**
 * Takes a worker off the register and frees what it still holds.
 * @returns how many jobs could not be freed, since somebody has them locked, and no other worker is there to do it later
 */
export async function deregisterWorker(database: Database, workerId: number): Promise<number> {
  const { rows } = await sql<{ locked: number }>`
    select embedder.deregister(${workerId}) as locked`.execute(database);
  return rows[0]!.locked;
}

/** Notes that a worker lives. False: it is not on the register any more, since it was silent for too long. */
export async function beat(database: Database, workerId: number): Promise<boolean> {
  const { rows } = await sql<{ known: boolean }>`select embedder.beat(${workerId}) as known`.execute(
    database,
  );
  return rows[0]!.known;
}

/** Notes whether a worker sleeps: triggers notify only while one does. */
export async function setIdle(database: Database, workerId: number, idle: boolean): Promise<void> {
  await sql`select embedder.set_idle(${workerId}, ${idle})`.execute(database);
}

/**
 * Has a worker count as alive without a heartbeat, until one of these pipelines has a job due, and at most `mostSeconds`.
 * @returns for how many seconds; null, and nothing has changed, where that is less than `leastSeconds`
 */
export async function goQuiet(
  database: Database,
  workerId: number,
  pipelineIds: readonly number[],
  leastSeconds: number,
  mostSeconds: number,
): Promise<number | null> {
  const { rows } = await sql<{ seconds: number | null }>`
    select embedder.go_quiet(${workerId}, ${[...pipelineIds]}::int[], ${leastSeconds}, ${mostSeconds}) as seconds`.execute(
    database,
  );
  return rows[0]!.seconds;
}

/** Notes why a worker claims nothing; null: it does again. */
export async function noteWorker(database: Database, workerId: number, note: string | null): Promise<void> {
  await sql`select embedder.note_worker(${workerId}, ${note})`.execute(database);
}

/** Frees the jobs of workers whose heartbeat is gone; returns how many. */
export async function rescueJobs(database: Database): Promise<number> {
  const { rows } = await sql<{ freed: number }>`select embedder.rescue_jobs() as freed`.execute(database);
  return rows[0]!.freed;
}

/** How many workers live, and where. */
export async function liveWorkers(database: Database): Promise<{ alive: number; hosts: string | null }> {
  const { rows } = await sql<{ alive: number; hosts: string | null }>`
    select count(*) as alive, string_agg(distinct hostname, ', ') as hosts
    from embedder.worker where alive`.execute(database);
  return rows[0]!;
}

/** A worker on the register, as embedder.worker shows it. */
export interface RegisteredWorker {
  readonly id: number;
  readonly hostname: string;
  readonly pid: number;
  readonly version: string;
  /** Whether notifications arrive. */
  readonly listening: boolean;
  readonly idle: boolean;
  /** Whether its heartbeat is in time. */
  readonly alive: boolean;
  readonly started_at: Date;
  /** Why it claims nothing. */
  readonly note: string | null;
}

/** The workers on the register, the oldest first. */
export async function registeredWorkers(database: Database): Promise<RegisteredWorker[]> {
  const { rows } = await sql<RegisteredWorker>`
    select id, hostname, pid, version, listening, idle, alive, started_at, note from embedder.worker order by id`.execute(
    database,
  );
  return rows;
}
