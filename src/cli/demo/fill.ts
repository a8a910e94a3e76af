import { DEMO_TABLE, lastDemoRow } from '../../database/demo-table.ts';
import { UserError } from '../../errors.ts';
import type { Embedder } from '../../inference/embedder.ts';
import { createWorker } from '../../worker/worker.ts';
import type { Environment } from '../environment.ts';
import { formatCount, formatSeconds, plural } from '../format.ts';
import { errorColours as colours, say } from '../output.ts';
import type { OpenDatabase } from '../with-database.ts';
import { Progress } from './progress.ts';
import { type DemoFilling, loadGlosses } from './table.ts';
import type { Gloss } from './wordnet.ts';

/** What the demo works with. */
export interface Stage extends OpenDatabase {
  readonly environment: Environment;
  readonly embedder: Embedder;
  /** Reads WordNet, once. */
  glosses(): Promise<Gloss[]>;
  /** Ctrl-C. */
  readonly signal: AbortSignal;
}

/** How long Ctrl-C waits for a worker that builds an index; after that the end of the database interrupts the build. */
const STOP_LIMIT_MS = 3_000;
/** How long batches under way have to end. */
const ENGINE_GRACE_MS = 1_000;

/** Prints a line that stays, about something that was done. */
function done(text: string): void {
  say(`${colours.green('✓')} ${text}`);
}

/** Puts the first `rows` glosses into the table, except for those that are there already. */
export async function load({ database, glosses, signal }: Stage, rows: number): Promise<void> {
  const before = await lastDemoRow(database);
  const wanted = (await glosses()).slice(0, rows);
  const progress = new Progress('loading  ', wanted.length, before);
  try {
    await loadGlosses(database, wanted, signal, (loaded) => progress.update(loaded));
  } finally {
    progress.stop();
  }
  done(
    `${plural(wanted.length, 'gloss', 'glosses')} of WordNet in table ${DEMO_TABLE}, ${formatSeconds(progress.seconds)}`,
  );
}

/** Has a worker embed what waits and build the index. */
export async function fill(stage: Stage, filling: DemoFilling): Promise<void> {
  const { connection, environment, embedder, signal } = stage;
  // The handler below would not be called for a signal that was aborted before.
  signal.throwIfAborted();
  // While the embedded Postgres builds the index it answers no query, and the worker would log that it is away.
  const logger = environment.logger.child({}, { level: 'error' });
  const worker = createWorker({
    connection,
    logger,
    window: environment.config.PGEMBEDDER_WINDOW,
    embedder,
  });
  const report = new FillingReport(filling);
  for (const backend of embedder.backends) backend.on('batch', (batch) => report.count(batch));
  worker.events.on('claimed', () => report.begin());
  worker.events.on('completed', ({ pipeline, embedded, emptied }) => {
    if (pipeline === DEMO_TABLE) report.add(embedded + emptied);
  });
  worker.events.on('indexed', ({ pipeline }) => {
    if (pipeline === DEMO_TABLE) report.endOfIndex();
  });
  if (filling.waiting === 0) report.endOfRows();
  try {
    const drain = worker.drain();
    const stop = async () => {
      report.stop();
      // What the worker logs while it is interrupted is of no use to somebody who has pressed Ctrl-C.
      logger.level = 'silent';
      // First the engine: batches under way end and are written, the others are given back by the worker.
      const stopping = embedder.stop(ENGINE_GRACE_MS).then(() => worker.stop());
      await Promise.race([stopping, new Promise((resolve) => setTimeout(resolve, STOP_LIMIT_MS))]);
      throw signal.reason;
    };
    const stopped = new Promise<never>((_, reject) => {
      signal.addEventListener('abort', () => stop().catch(reject));
    });
    const { failing } = await Promise.race([drain, stopped]);
    const error = failing.find(({ pipeline }) => pipeline === DEMO_TABLE)?.error;
    if (error)
      throw new UserError(`the demo's pipeline does not work: ${error}`, {
        hint: 'pgembedder doctor --embedded says more',
      });
  } finally {
    report.stop();
  }
}

/** Shows how far a filling is: a progress bar, then a line for the rows and one for the index. */
class FillingReport {
  readonly #filling: DemoFilling;
  #ready: number;
  #progress: Progress | undefined;
  #indexBegin = 0;
  #texts = 0;
  #tokens = 0;

  constructor(filling: DemoFilling) {
    this.#filling = filling;
    this.#ready = filling.rows - filling.waiting;
  }

  /** The worker has work: rates count from here, and not from its start. */
  begin(): void {
    this.#progress ??= new Progress('embedding', this.#filling.rows, this.#ready);
  }

  /** Counts the tokens of a batch. */
  count({ rows, tokens }: { rows: number; tokens: number }): void {
    this.#texts += rows;
    this.#tokens += tokens;
  }

  add(rows: number): void {
    const before = this.#ready;
    // A row that changes meanwhile is done twice.
    this.#ready = Math.min(before + rows, this.#filling.rows);
    this.#progress?.update(this.#ready, this.#tokensPerText);
    if (this.#ready === this.#filling.rows && before < this.#ready) this.endOfRows();
  }

  endOfRows(): void {
    this.stop();
    if (this.#progress) {
      const { rate, seconds } = this.#progress;
      const speed = `${formatCount(rate)} rows/s, ${formatCount(rate * this.#tokensPerText)} tokens/s`;
      done(`${plural(this.#filling.waiting, 'row')} embedded in ${formatSeconds(seconds)}: ${speed}`);
    }
    this.#indexBegin = performance.now();
    say(colours.dim('  building the HNSW index ...'));
  }

  endOfIndex(): void {
    done(`HNSW index built in ${formatSeconds((performance.now() - this.#indexBegin) / 1_000)}`);
  }

  stop(): void {
    this.#progress?.stop();
  }

  /** Of a text, on average over all so far. */
  get #tokensPerText(): number {
    return this.#texts === 0 ? 0 : this.#tokens / this.#texts;
  }
}
