import { Command } from 'commander';
import { migrate } from '../database/migrate/migrate.ts';
import { knownModels } from '../models/known-models.ts';
import { readEnvironment } from './environment.ts';
import { plural } from './format.ts';
import { colours, print, printJson } from './output.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

/** `pgembedder migrate` */
export function migrateCommand(): Command {
  const command = new Command('migrate')
    .description('make or update schema embedder in the database; safe to run again')
    .option('--json', 'print what was applied as JSON')
    .addHelpText('after', '\nExample:\n  $ pgembedder migrate --database-url postgres://me@localhost/mydb')
    .action(run);
  return addDatabaseOptions(command);
}

async function run(options: DatabaseOptions & { json?: boolean }): Promise<void> {
  const environment = readEnvironment();
  await withDatabase(options, environment, async ({ database }) => {
    const { store, endpoints, logger } = environment;
    const models = knownModels(store, endpoints, logger);
    const { migrations, functions, mended, other, failed } = await migrate(database, models);
    if (options.json) return printJson({ migrations, functions, mended, other, failed });
    for (const name of migrations) print(`${colours.green('applied')}  ${name}`);
    if (functions.length > 0)
      print(`${colours.green('applied')}  ${plural(functions.length, 'file')} of sql/`);
    for (const line of mended) print(`${colours.green('mended')}   ${line}`);
    for (const line of other) print(`${colours.red('differs')}  ${line}`);
    for (const { pipeline, problem } of failed)
      print(`${colours.red('failed')}   pipeline ${pipeline}: ${problem}. A worker tries it again.`);
    if (migrations.length + functions.length + mended.length + other.length + failed.length === 0)
      print('up to date');
  });
}
