import type { Database } from '../../database/database.ts';
import { codeOf, messageOf } from '../../errors.ts';
import type { SessionState } from '../../inference/backend/session.ts';
import { intervalSeconds, type PipelineStatus, readStatus } from '../../pipelines/status.ts';
import { type RegisteredWorker, registeredWorkers } from '../../queue/workers.ts';
import { version } from '../../version.ts';
import { withinTime } from '../../within-time.ts';
import type { Worker } from '../../worker/worker.ts';
import type { OpenedPipeline } from '../search/opened.ts';
import type { EndpointStates } from './endpoint-states.ts';
import type { History } from './history.ts';
import type { Shown, ShownModel, ShownPipeline, ShownWorker } from './shown.ts';

/** A server that does not answer in this time counts as away. */
const DATABASE_MS = 5_000;

/** What serves, as far as it is shown. */
export type ServedState = Pick<Worker, 'state' | 'sessions' | 'events'>;

/** How everything is now. A database that is away is told in `problem`. */
export async function readShown(
  served: ServedState,
  database: Database | null,
  history: History | null,
  opened: readonly OpenedPipeline[],
  endpoints: EndpointStates,
): Promise<Shown> {
  const server = {
    at: new Date().toISOString(),
    version,
    worker: served.state,
    database: database !== null,
    models: served.sessions.map(shownModel),
    endpoints: endpoints.read(),
  };
  if (!database) return { ...server, problem: null, pipelines: [], workers: [] };
  try {
    const [pipelines, workers] = await withinTime(
      Promise.all([readStatus(database), registeredWorkers(database)]),
      DATABASE_MS,
      'no answer in time',
    );
    return {
      ...server,
      problem: null,
      pipelines: pipelines.map((row) => shownPipeline(row, history, opened)),
      workers: workers.map(shownWorker),
    };
  } catch (error) {
    // Its message may name hosts and users.
    return {
      ...server,
      problem: `The database is away: ${codeOf(error) || messageOf(error)}`,
      pipelines: [],
      workers: [],
    };
  }
}

function shownPipeline(
  row: PipelineStatus,
  history: History | null,
  opened: readonly OpenedPipeline[],
): ShownPipeline {
  const search = opened.find(({ name }) => name === row.pipeline);
  return {
    name: row.pipeline,
    source: row.source,
    task: row.task,
    model: row.model,
    generation: row.generation,
    state: row.state,
    error: row.error,
    warning: row.warning,
    sourceRows: row.source_rows,
    embeddedRows: row.embedded_rows,
    staleRows: row.stale_rows,
    pending: row.pending,
    leased: row.leased,
    failed: row.failed,
    coverage: numberOf(row.coverage),
    oldestDueSeconds: secondsOf(row.oldest_due_age),
    rowsPerSecond: Number(row.rows_per_second),
    secondsLeft: secondsOf(row.time_left_estimate),
    index: row.index_state,
    next:
      row.next_generation === null
        ? null
        : {
            generation: row.next_generation,
            model: row.next_model ?? '',
            coverage: numberOf(row.next_coverage),
            state: row.next_state ?? '',
          },
    minutes: history?.of(row.pipeline) ?? [],
    search: search ? { filters: Object.keys(search.filters), settings: Object.keys(search.settings) } : null,
  };
}

function shownWorker(worker: RegisteredWorker): ShownWorker {
  return {
    id: worker.id,
    host: worker.hostname,
    pid: worker.pid,
    version: worker.version,
    state: worker.alive ? (worker.idle ? 'idle' : 'working') : 'silent',
    listening: worker.listening,
    startedAt: worker.started_at.toISOString(),
    note: worker.note,
  };
}

function shownModel({ model, device, state, residentBytes, pids, pending }: SessionState): ShownModel {
  return {
    name: model,
    device,
    state,
    memoryBytes: residentBytes,
    processes: pids.length,
    pendingBatches: pending,
  };
}

/** Values of type numeric come as text. */
function numberOf(text: string | null): number | null {
  return text === null ? null : Number(text);
}

function secondsOf(interval: string | null): number | null {
  return interval === null ? null : intervalSeconds(interval);
}
