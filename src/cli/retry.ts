import { Command } from 'commander';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { retryFailed } from '../queue/dead-letters.ts';
import { readEnvironment } from './environment.ts';
import { plural } from './format.ts';
import { print, printJson } from './output.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

/** `pgembedder retry` */
export function retryCommand(): Command {
  const command = new Command('retry')
    .description('put dead letters back on the queue, with all their attempts')
    .argument('[name]', 'the pipeline; default: all')
    .option('--json', 'print how many as JSON')
    .addHelpText('after', '\nExample:\n  $ pgembedder retry articles')
    .action(run);
  return addDatabaseOptions(command);
}

async function run(name: string | undefined, options: DatabaseOptions & { json?: boolean }): Promise<void> {
  await withDatabase(options, readEnvironment(), async ({ database }) => {
    await requireSchema(database);
    const retried = await retryFailed(database, name ?? null);
    if (options.json) printJson({ retried });
    else print(retried === 0 ? 'no dead letters' : `${plural(retried, 'row')} back on the queue`);
  });
}
