import { Command } from 'commander';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { startBackfill } from '../pipelines/filling.ts';
import { readEnvironment } from './environment.ts';
import { plural } from './format.ts';
import { print, printJson } from './output.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

interface Options extends DatabaseOptions {
  where?: string;
  force?: boolean;
  stale?: boolean;
  json?: boolean;
}

/** `pgembedder backfill` */
export function backfillCommand(): Command {
  const command = new Command('backfill')
    .description('queue the rows that have no result; safe to call again and again')
    .argument('<name>', 'the pipeline')
    .option('--where <condition>', 'only rows of the source for which this SQL condition holds')
    .option('--stale', 'also results whose text has changed, or whose row is gone, while no trigger saw it')
    .option('--force', 'rows that have a result as well')
    .option('--json', 'print how many ranges as JSON')
    .addHelpText('after', `\nExample:\n  $ pgembedder backfill articles --where "created_at > '2026-01-01'"`)
    .action(run);
  return addDatabaseOptions(command);
}

async function run(
  name: string,
  { where, force = false, stale = false, json = false, ...options }: Options,
): Promise<void> {
  await withDatabase(options, readEnvironment(), async ({ database }) => {
    await requireSchema(database);
    const ranges = await startBackfill(database, name, { where, force, stale });
    if (json) printJson({ pipeline: name, ranges });
    else print(`${plural(ranges, 'range')} of rows to walk`);
  });
}
