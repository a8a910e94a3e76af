import { Command } from 'commander';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { type ListedPipeline, listPipelines } from '../pipelines/list.ts';
import { readEnvironment } from './environment.ts';
import { oneLine } from './format.ts';
import { colours, print, printJson } from './output.ts';
import { formatTable } from './table.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

/** `pgembedder pipeline list`. Counts nothing, so it answers at once; `status` counts. */
export function pipelineListCommand(): Command {
  const command = new Command('list')
    .description('list the pipelines: what each reads and writes')
    .option('--json', 'print them as JSON')
    .addHelpText('after', '\nExample:\n  $ pgembedder pipeline list --json')
    .action(run);
  return addDatabaseOptions(command);
}

async function run(options: DatabaseOptions & { json?: boolean }): Promise<void> {
  await withDatabase(options, readEnvironment(), async ({ database }) => {
    await requireSchema(database);
    const rows = await listPipelines(database);
    if (options.json) printJson(rows);
    else for (const line of formatPipelines(rows)) print(line);
  });
}

/** The pipelines as a table for people. */
export function formatPipelines(rows: readonly ListedPipeline[]): string[] {
  if (rows.length === 0) return ['No pipelines yet. Make one: pgembedder pipeline create articles body'];
  return formatTable(
    rows,
    [
      { title: 'pipeline', text: ({ name }) => name, paint: (text) => colours.bold(text) },
      { title: 'source', text: ({ source }) => source },
      { title: 'input', text: ({ input }) => oneLine(input, 40) },
      { title: 'target', text: ({ target }) => target },
      { title: 'model', text: ({ model }) => model },
      { title: 'index', text: ({ index }) => index },
      {
        title: 'state',
        text: ({ paused, error }) => (paused ? 'paused' : error === null ? 'ok' : 'error'),
        paint: (text, { paused, error }) =>
          paused ? colours.yellow(text) : error === null ? colours.green(text) : colours.red(text),
      },
    ],
    ({ error }) => (error === null ? [] : [colours.red(`  ${oneLine(error, 1_000)}`)]),
  );
}
