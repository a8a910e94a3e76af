import { setTimeout as wait } from 'node:timers/promises';
import { Command } from 'commander';
import type { Database } from '../database/database.ts';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { intervalSeconds, type PipelineStatus, readStatus } from '../pipelines/status.ts';
import { readEnvironment } from './environment.ts';
import { formatCount, formatSeconds, formatShare, oneLine } from './format.ts';
import { colours, print, printJson, width } from './output.ts';
import { StopSignals } from './signals.ts';
import { type Column, fitColumns, formatTable } from './table.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

interface StatusOptions extends DatabaseOptions {
  json?: boolean;
  watch?: boolean;
}

const REDRAW_MS = 1_000;

/** `pgembedder status` */
export function statusCommand(): Command {
  const command = new Command('status')
    .description('show each pipeline: how much is embedded, what waits, what failed')
    .option('--json', 'print the rows of embedder.status as JSON; with --watch, one line each second')
    .option('--watch', 'draw it again each second, until Ctrl-C')
    .addHelpText('after', '\nExample:\n  $ pgembedder status --watch')
    .action(run);
  return addDatabaseOptions(command);
}

async function run(options: StatusOptions): Promise<void> {
  const environment = readEnvironment();
  await withDatabase(options, environment, async ({ database }) => {
    await requireSchema(database);
    if (options.watch) return watch(database, options.json ?? false);
    const rows = await readStatus(database);
    if (options.json) printJson(rows.map(toJson));
    else for (const line of formatStatus(rows, room())) print(line);
  });
}

async function watch(database: Database, json: boolean): Promise<void> {
  const signals = new StopSignals();
  let drawn = 0;
  try {
    while (!signals.stopped) {
      const rows = await readStatus(database);
      if (json) {
        print(JSON.stringify(rows.map(toJson)));
      } else {
        // Lines beyond the end of the terminal cannot be drawn over.
        const lines = formatStatus(rows, room(), room()).slice(
          0,
          (process.stdout.rows || Number.POSITIVE_INFINITY) - 1,
        );
        // Over the last picture, line by line: clearing the screen first would flicker.
        if (process.stdout.isTTY && drawn > 0) process.stdout.write(`\x1b[${drawn}A\x1b[J`);
        print(lines.join('\n'));
        drawn = lines.length;
      }
      await wait(REDRAW_MS, undefined, { signal: signals.signal });
    }
  } catch (error) {
    // Ctrl-C is the way to end a watch.
    if (!signals.stopped) throw error;
  } finally {
    signals.dispose();
  }
}

/** Columns of the terminal; a pipe has no end. */
function room(): number {
  return process.stdout.isTTY ? width() : Number.POSITIVE_INFINITY;
}

/** Values of type numeric come as text. */
function toJson(row: PipelineStatus) {
  const number = (text: string | null) => (text === null ? null : Number(text));
  return {
    ...row,
    coverage: number(row.coverage),
    rows_per_second: number(row.rows_per_second),
    next_coverage: number(row.next_coverage),
  };
}

const STATE_COLOURS = {
  live: colours.green,
  filling: colours.cyan,
  paused: colours.yellow,
  error: colours.red,
} as const;

const count = (
  title: string,
  get: (row: PipelineStatus) => number | null,
  dispensable?: number,
): Column<PipelineStatus> => ({
  title,
  ...(dispensable === undefined ? {} : { dispensable }),
  align: 'right',
  text: (row) => {
    const value = get(row);
    return value === null ? '?' : formatCount(value);
  },
  paint: (text, row) => (get(row) === 0 ? colours.dim(text) : text),
});

const COLUMNS: Column<PipelineStatus>[] = [
  { title: 'pipeline', text: (row) => oneLine(row.pipeline, 40), paint: (text) => colours.bold(text) },
  { title: 'state', text: (row) => row.state, paint: (text, row) => STATE_COLOURS[row.state](text) },
  count('source rows', (row) => row.source_rows),
  count('embedded', (row) => row.embedded_rows),
  count('stale', (row) => row.stale_rows, 5),
  count('pending', (row) => row.pending),
  count('leased', (row) => row.leased, 3),
  {
    ...count('failed', (row) => row.failed),
    paint: (text, row) => (row.failed > 0 ? colours.red(text) : colours.dim(text)),
  },
  {
    title: 'coverage',
    align: 'right',
    text: (row) => (row.coverage === null ? '-' : formatShare(Number(row.coverage))),
  },
  {
    title: 'oldest due',
    align: 'right',
    dispensable: 1,
    text: (row) => (row.oldest_due_age === null ? '-' : formatSeconds(intervalSeconds(row.oldest_due_age))),
  },
  {
    title: 'rows/s',
    align: 'right',
    dispensable: 2,
    text: (row) => formatCount(Number(row.rows_per_second)),
  },
  {
    title: 'left',
    align: 'right',
    dispensable: 4,
    text: (row) =>
      row.time_left_estimate === null ? '-' : `~${formatSeconds(intervalSeconds(row.time_left_estimate))}`,
  },
];

/**
 * The table for people, an error on a line of its own under its pipeline.
 * @param columns the width of the terminal: the table keeps the columns that fit
 * @param longest where an error is cut
 */
export function formatStatus(
  rows: readonly PipelineStatus[],
  columns = Number.POSITIVE_INFINITY,
  longest = 1_000,
): string[] {
  if (rows.length === 0) return ['No pipelines yet. Make one: pgembedder pipeline create articles body'];
  const line = (text: string) => `  ${oneLine(text, Math.min(longest, 1_000) - 2)}`;
  return formatTable(rows, fitColumns(rows, COLUMNS, columns), (row) => [
    ...(row.error === null ? [] : [colours.red(line(row.error))]),
    ...(row.warning === null ? [] : [colours.yellow(line(row.warning))]),
    ...(row.index_state.startsWith('building') ? [colours.cyan(line(`index: ${row.index_state}`))] : []),
    ...(row.next_generation === null
      ? []
      : [
          colours.cyan(
            line(
              `generation ${row.next_generation}, ${row.next_model}: ${formatShare(Number(row.next_coverage ?? 0))}, ${row.next_state ?? ''}`,
            ),
          ),
        ]),
  ]);
}
