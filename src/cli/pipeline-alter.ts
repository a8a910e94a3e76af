import { Command } from 'commander';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { alterPipeline, type PipelineChange } from '../pipelines/define.ts';
import { explainDeclaration } from './declaration-errors.ts';
import { readEnvironment } from './environment.ts';
import { print, printJson, say } from './output.ts';
import { addDeclarationOptions } from './pipeline-options.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

type AlterOptions = DatabaseOptions & PipelineChange & { keepOld?: boolean; json?: boolean };

/** `pgembedder pipeline alter` */
export function pipelineAlterCommand(): Command {
  const command = new Command('alter')
    .description('change a pipeline; what changes results is filled beside it first, and cut over later')
    .argument('<name>', 'the pipeline')
    .option('--input <input>', 'a column, or a template of columns')
    .option('--new-name <name>', 'rename it');
  addDeclarationOptions(command)
    .option('--auto-cutover', 'make the next generation live when it is filled and indexed')
    .option('--keep-old', 'keep what the old generation has written')
    .option('--json', 'print what was done as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ pgembedder pipeline alter articles --model Xenova/bge-small-en-v1.5 --auto-cutover
  $ pgembedder pipeline alter articles --priority 5`,
    )
    .action(run);
  return addDatabaseOptions(command);
}

async function run(name: string, options: AlterOptions): Promise<void> {
  const { json = false, keepOld = false, embedded: _embedded, databaseUrl: _url, ...change } = options;
  await withDatabase(options, readEnvironment(), async ({ database }) => {
    await requireSchema(database);
    const done = await alterPipeline(database, name, { ...change, dropOld: !keepOld }).catch(
      (error: unknown) => {
        throw explainDeclaration(error);
      },
    );
    if (json) return printJson({ pipeline: name, done });
    print(`pipeline ${name}: ${done}`);
    if (done === 'next generation' && !change.autoCutover)
      say(`A worker fills it; then: pgembedder pipeline cutover ${name}`);
  });
}
