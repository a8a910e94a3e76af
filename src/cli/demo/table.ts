import { setTimeout as wait } from 'node:timers/promises';
import type { Database } from '../../database/database.ts';
import {
  countDemoRows,
  DEMO_TABLE,
  insertDemoRows,
  lastDemoRow,
  makeDemoTable,
} from '../../database/demo-table.ts';
import { UserError } from '../../errors.ts';
import { definePipeline } from '../../pipelines/define.ts';
import { type Filling, readFilling } from '../../pipelines/filling.ts';
import { countJobs } from '../../queue/counts.ts';
import { rescueJobs } from '../../queue/workers.ts';
import type { Gloss } from './wordnet.ts';

/** Rows of one insert: small enough that Ctrl-C is heard, large enough to be quick. */
const ROWS_PER_INSERT = 1_000;
const LEASE_POLL_MS = 500;

/**
 * Makes the table and its pipeline, unless an earlier run has.
 * @throws UserError when there is another table of that name
 */
export async function prepareTable(database: Database): Promise<void> {
  await makeDemoTable(database);
  // Before the rows: each then comes with its job in one transaction, so Ctrl-C leaves none without.
  await definePipeline(database, { source: DEMO_TABLE, input: 'gloss', name: DEMO_TABLE, ifNotExists: true });
}

/** Inserts the glosses that are not there yet, a thousand at a time. */
export async function loadGlosses(
  database: Database,
  glosses: readonly Gloss[],
  signal: AbortSignal,
  onLoaded: (rows: number) => void,
): Promise<void> {
  for (let next = await lastDemoRow(database); next < glosses.length; next += ROWS_PER_INSERT) {
    signal.throwIfAborted();
    const part = glosses.slice(next, next + ROWS_PER_INSERT);
    await insertDemoRows(database, part, next);
    onLoaded(next + part.length);
  }
}

/**
 * Waits until nobody holds rows of the demo: a run that was killed leaves leases behind, which are freed when its
 * heartbeat has been gone for 10 s, and a worker that lives embeds them itself.
 * @param onWait called before the first wait
 */
export async function awaitLeases(
  database: Database,
  signal: AbortSignal,
  onWait: () => void,
): Promise<void> {
  for (let waited = false; ; waited = true) {
    await rescueJobs(database);
    if ((await countJobs(database, DEMO_TABLE)).leased === 0) return;
    if (!waited) onWait();
    await wait(LEASE_POLL_MS, undefined, { signal });
  }
}

/** How far the demo's pipeline is filled, and of how many rows. */
export interface DemoFilling extends Filling {
  readonly rows: number;
}

/** @throws UserError when rows wait and the pipeline is paused */
export async function readDemoFilling(database: Database): Promise<DemoFilling> {
  const filling = { ...(await readFilling(database, DEMO_TABLE)), rows: await countDemoRows(database) };
  if (!filling.paused || filling.waiting === 0) return filling;
  throw new UserError(`pipeline ${DEMO_TABLE} is paused`, {
    hint: `Run: pgembedder pipeline resume ${DEMO_TABLE}`,
  });
}
