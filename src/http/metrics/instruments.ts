import { Counter, Gauge, Histogram, type Registry } from 'prom-client';

/** In seconds. A claim takes a few ms, a batch tens of ms; on a slow machine a batch waits minutes for its window's others. */
const STAGE_BUCKETS = [
  0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300,
];

/** In seconds. */
const REQUEST_BUCKETS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];

/** What a job goes through; see `pgembedder_stage_duration_seconds`. */
export type Stage = 'claim' | 'fetch' | 'tokenize' | 'wait' | 'run' | 'write';

/** Every metric of a worker, made on a registry of its own. The help texts are what the docs print. */
export function createInstruments(registry: Registry) {
  const registers = [registry];
  const counter = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Counter({ name: `pgembedder_${name}`, help, labelNames, registers });
  const gauge = <Label extends string>(name: string, help: string, ...labelNames: Label[]) =>
    new Gauge({ name: `pgembedder_${name}`, help, labelNames, registers });
  return {
    buildInfo: gauge('build_info', 'Always 1; its labels say which version runs.', 'version', 'node_version'),

    // The queue, as the database has it: the same from every worker.
    databaseUp: gauge('database_up', '1: the database has answered the last question; 0: it has not.'),
    pending: gauge(
      'queue_pending_jobs',
      'Jobs that wait: due now, or after a backoff.',
      'pipeline',
      'generation',
    ),
    leased: gauge('queue_leased_jobs', 'Jobs that a worker holds.', 'pipeline', 'generation'),
    deadLetters: gauge(
      'queue_dead_letters',
      'Dead letters: they wait for a person.',
      'pipeline',
      'generation',
    ),
    oldestDue: gauge(
      'queue_oldest_due_age_seconds',
      'How long the oldest job that is due has been waiting; 0 when none is.',
      'pipeline',
      'generation',
    ),
    backfillRows: gauge(
      'queue_backfill_rows',
      'About how many rows backfills have yet to look at.',
      'pipeline',
      'generation',
    ),
    sourceRows: gauge(
      'pipeline_source_rows',
      'Rows of the source that the filter lets in; missing while a worker has yet to count them.',
      'pipeline',
      'generation',
    ),
    embeddedRows: gauge('pipeline_embedded_rows', 'Rows that have a result.', 'pipeline', 'generation'),
    pipelineState: gauge(
      'pipeline_state',
      '1 for the state that the pipeline is in: live, filling, paused or error; 0 for the others.',
      'pipeline',
      'generation',
      'state',
    ),

    // What this worker has done.
    rowsClaimed: counter(
      'rows_claimed_total',
      'Rows claimed: from the queue, or out of a backfill.',
      'origin',
    ),
    rowsEmbedded: counter('rows_embedded_total', 'Rows whose result was written.', 'pipeline'),
    rowsEmptied: counter(
      'rows_emptied_total',
      'Rows without text, or gone: their target was emptied.',
      'pipeline',
    ),
    rowsSuperseded: counter(
      'rows_superseded_total',
      'Results thrown away, since their row had changed meanwhile; it is due again.',
      'pipeline',
    ),
    rowFailures: counter(
      'row_failures_total',
      "Failed attempts; the reason is an engine error's kind, a SQLSTATE, or other.",
      'pipeline',
      'reason',
    ),
    rowsRetried: counter('rows_retried_total', 'Failed attempts that are tried again.', 'pipeline'),
    rowsBuried: counter('rows_buried_total', 'Rows that became dead letters.', 'pipeline'),
    leasesLost: counter(
      'leases_lost_total',
      'Leases that ended while this worker still held the row, since it could not renew them in time: another may do the row too.',
    ),
    rowsRescued: counter('rows_rescued_total', 'Jobs of dead workers that this one has freed.'),
    registrations: counter(
      'worker_registrations_lost_total',
      'How often this worker was taken for dead, since its heartbeat did not arrive, and registered again.',
    ),
    pipelineErrors: counter(
      'pipeline_errors_total',
      'Errors that kept the pipeline as a whole from working.',
      'pipeline',
    ),
    listening: gauge('worker_listening', '1: notifications wake this worker; 0: it polls.'),

    // The engine.
    batches: counter('batches_total', 'Batches that the model has run.', 'model'),
    batchRows: counter('batch_rows_total', 'Texts or chunks in these batches.', 'model'),
    tokens: counter('tokens_total', 'Tokens in these batches, without padding.', 'model'),
    paddingTokens: counter(
      'padding_tokens_total',
      'Tokens that only fill the shorter rows of a batch; its share is padding / (padding + tokens).',
      'model',
    ),
    engineStarts: counter('engine_starts_total', 'Engine processes that were started.'),
    engineDeaths: counter(
      'engine_deaths_total',
      'Engine processes that ended without being asked to; the cause is a signal or an exit code.',
      'cause',
    ),
    engineProcesses: gauge('engine_processes', 'Engine processes that run.'),
    engineMemory: gauge(
      'engine_resident_memory_bytes',
      'Memory that the engine processes have resident, as of their last batches.',
    ),
    sessions: gauge('sessions', 'Sessions that are loaded or being loaded.', 'model', 'device', 'state'),

    // Models that servers elsewhere run.
    endpointRequests: counter(
      'endpoint_requests_total',
      'Requests sent to endpoints; the outcome is a status, timeout, broken or unreachable.',
      'endpoint',
      'outcome',
    ),
    endpointTokens: counter(
      'endpoint_tokens_total',
      'Tokens that endpoints have counted; where one does not say, a fourth of the bytes of the texts.',
      'endpoint',
      'model',
    ),
    endpointWaits: counter(
      'endpoint_waits_total',
      'How often an endpoint took nothing for a while: by its status 429 or 503, or since the limit that was set (limit) was used up.',
      'endpoint',
      'reason',
    ),
    endpointWaitSeconds: counter(
      'endpoint_wait_seconds_total',
      'How long these waits were told to be.',
      'endpoint',
      'reason',
    ),

    // Requests over HTTP.
    requests: counter('http_requests_total', 'Requests over HTTP, by route and status.', 'route', 'status'),
    waitingTokens: gauge(
      'http_waiting_tokens',
      'About how many tokens of requests over HTTP wait for the engine.',
    ),
    requestSeconds: new Histogram({
      name: 'pgembedder_http_request_duration_seconds',
      help: 'How long requests over HTTP took, until their answer was ready.',
      labelNames: ['route' satisfies string],
      buckets: REQUEST_BUCKETS,
      registers,
    }),

    stages: new Histogram({
      name: 'pgembedder_stage_duration_seconds',
      help: 'How long the stages take: claim (a query), fetch (the texts of a window, a query), tokenize (the texts of a window), wait (of a batch, for the engine), run (a batch), write (a statement).',
      labelNames: ['stage' satisfies string],
      buckets: STAGE_BUCKETS,
      registers,
    }),
  };
}

export type Instruments = ReturnType<typeof createInstruments>;
