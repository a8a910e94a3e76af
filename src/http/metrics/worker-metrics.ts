import type { WorkerEvents } from '../../worker/events.ts';
import type { Instruments, Stage } from './instruments.ts';

/** Counts what a worker tells. */
export function countEvents(events: WorkerEvents, instruments: Instruments): void {
  const time = (stage: Stage, ms: number) => instruments.stages.observe({ stage }, ms / 1_000);

  events.on('pipelines', (names) => {
    // Counters begin at zero when the pipeline is read: else Prometheus does not see the first increase.
    for (const pipeline of names) {
      instruments.rowsEmbedded.inc({ pipeline }, 0);
      instruments.rowsRetried.inc({ pipeline }, 0);
      instruments.rowsBuried.inc({ pipeline }, 0);
      instruments.rowsSuperseded.inc({ pipeline }, 0);
      instruments.pipelineErrors.inc({ pipeline }, 0);
    }
  });
  events.on('listening', (listening) => instruments.listening.set(listening ? 1 : 0));
  events.on('claimed', (rows, { ms, backfill }) => {
    instruments.rowsClaimed.inc({ origin: backfill ? 'backfill' : 'queue' }, rows);
    time('claim', ms);
  });
  events.on('fetched', ({ ms }) => time('fetch', ms));
  events.on('tokenized', ({ ms }) => time('tokenize', ms));
  events.on('batch', ({ model, rows, tokens, paddedTokens, waitMs, runMs }) => {
    instruments.batches.inc({ model });
    instruments.batchRows.inc({ model }, rows);
    instruments.tokens.inc({ model }, tokens);
    instruments.paddingTokens.inc({ model }, paddedTokens - tokens);
    time('wait', waitMs);
    time('run', runMs);
  });
  events.on('completed', ({ pipeline, embedded, emptied, ms }) => {
    instruments.rowsEmbedded.inc({ pipeline }, embedded);
    instruments.rowsEmptied.inc({ pipeline }, emptied);
    time('write', ms);
  });
  events.on('superseded', ({ pipeline, rows }) => instruments.rowsSuperseded.inc({ pipeline }, rows));
  events.on('leasesLost', (rows) => instruments.leasesLost.inc(rows));
  events.on('failed', ({ pipeline, dead, retried, reasons }) => {
    instruments.rowsBuried.inc({ pipeline }, dead);
    instruments.rowsRetried.inc({ pipeline }, retried);
    for (const [reason, failures] of Object.entries(reasons))
      instruments.rowFailures.inc({ pipeline, reason }, failures);
  });
  events.on('pipelineError', ({ pipeline, error }) => {
    if (error !== null) instruments.pipelineErrors.inc({ pipeline });
  });
  events.on('rescued', (rows) => instruments.rowsRescued.inc(rows));
  events.on('registeredAnew', () => instruments.registrations.inc());
  events.on('endpointRequest', ({ endpoint, outcome }) =>
    instruments.endpointRequests.inc({ endpoint, outcome }),
  );
  events.on('endpointTokens', ({ endpoint, model, tokens }) =>
    instruments.endpointTokens.inc({ endpoint, model }, tokens),
  );
  events.on('endpointWait', ({ endpoint, reason, ms }) => {
    instruments.endpointWaits.inc({ endpoint, reason });
    instruments.endpointWaitSeconds.inc({ endpoint, reason }, ms / 1_000);
  });
  events.on('engineStarted', () => instruments.engineStarts.inc());
  events.on('engineDied', ({ signal, code }) =>
    instruments.engineDeaths.inc({ cause: signal ?? `exit ${code}` }),
  );
}
