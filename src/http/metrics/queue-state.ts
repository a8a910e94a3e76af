import type { Database } from '../../database/database.ts';
import { type QueueMetrics, readQueueMetrics } from '../../queue/metrics.ts';
import { withinTime } from '../../within-time.ts';
import type { Instruments } from './instruments.ts';

/** What was read is kept for at least this long, and for this many times as long as reading took. */
const KEPT_MS = 2_000;
const KEPT_TIMES = 20;
/** The longest that a scrape waits for it; Prometheus gives up after 10 s by default. */
const PATIENCE_MS = 3_000;
/** While newer figures are being read, older ones are shown for at most this much longer: a very long queue takes time. */
const OVERDUE_MS = 60_000;

const STATES = ['live', 'filling', 'paused', 'error'];

/**
 * The queue as the database has it. Reading takes longer with a longer queue, so what was read is kept: for 2 s, or twenty times
 * as long as reading took. So at most a twentieth of the time is spent on counting, however often somebody asks.
 */
export class QueueState {
  readonly #database: Database;
  #reading: Promise<void> | undefined;
  #rows: QueueMetrics[] | null = null;
  #keptUntil = 0;

  constructor(database: Database) {
    this.#database = database;
  }

  /** Sets the gauges. While the database does not answer they are empty: old figures would look like new ones. */
  async collect(instruments: Instruments): Promise<void> {
    if (performance.now() >= this.#keptUntil) {
      this.#reading ??= this.#read().finally(() => {
        this.#reading = undefined;
      });
      await withinTime(this.#reading, PATIENCE_MS, 'no answer in time').catch(() => {});
      if (performance.now() > this.#keptUntil + OVERDUE_MS) this.#rows = null;
    }
    show(this.#rows, instruments);
  }

  async #read(): Promise<void> {
    const begin = performance.now();
    this.#rows = await readQueueMetrics(this.#database).catch((error: unknown) => {
      this.#rows = null;
      throw error;
    });
    const end = performance.now();
    this.#keptUntil = end + Math.max(KEPT_MS, KEPT_TIMES * (end - begin));
  }
}

function show(rows: readonly QueueMetrics[] | null, instruments: Instruments): void {
  const {
    databaseUp,
    pending,
    leased,
    deadLetters,
    oldestDue,
    backfillRows,
    sourceRows,
    embeddedRows,
    pipelineState,
  } = instruments;
  databaseUp.set(rows ? 1 : 0);
  // Removes the figures of pipelines that were dropped.
  for (const gauge of [
    pending,
    leased,
    deadLetters,
    oldestDue,
    backfillRows,
    sourceRows,
    embeddedRows,
    pipelineState,
  ])
    gauge.reset();
  for (const row of rows ?? []) {
    const labels = { pipeline: row.pipeline, generation: row.generation };
    pending.set(labels, row.pending);
    leased.set(labels, row.leased);
    deadLetters.set(labels, row.failed);
    oldestDue.set(labels, row.oldest_due_seconds);
    backfillRows.set(labels, row.backfill_rows);
    if (row.source_rows !== null) sourceRows.set(labels, row.source_rows);
    embeddedRows.set(labels, row.embedded_rows);
    for (const state of STATES) pipelineState.set({ ...labels, state }, row.state === state ? 1 : 0);
  }
}
