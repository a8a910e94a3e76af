import { Command } from 'commander';
import type { Config } from '../config.ts';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { defaultModel } from '../models/choice.ts';
import { definePipeline, type PipelineDefinition } from '../pipelines/define.ts';
import { readMade } from '../pipelines/list.ts';
import { DEFAULT_TASK, isTask } from '../tasks/tasks.ts';
import { explainDeclaration } from './declaration-errors.ts';
import { readEnvironment } from './environment.ts';
import { plural } from './format.ts';
import { colours, errorColours, print, printJson, say } from './output.ts';
import { addDeclarationOptions } from './pipeline-options.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

type Flags = Omit<PipelineDefinition, 'source' | 'input'>;
type CreateOptions = DatabaseOptions & Flags & { json?: boolean };

/** `pgembedder pipeline create` */
export function pipelineCreateCommand(): Command {
  const command = new Command('create')
    .description('declare a pipeline: keeps the vectors of a table in step with its text')
    .argument('<source>', 'the table, as SQL writes it: articles, blog.articles')
    .argument('<input>', 'a column, or a template of columns: {title}\\n{body}')
    .option('--name <name>', "the pipeline's name (default: the table's)");
  addDeclarationOptions(command)
    .option('--no-enqueue-existing', 'embed only rows that change from now on')
    .option('--if-not-exists', 'leave a pipeline of this name as it is')
    .option('--json', 'print name and rows as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ pgembedder pipeline create articles "{title}\\n{body}"
  $ pgembedder pipeline create articles body --name by_body --target-column embedding`,
    )
    .action(run);
  return addDatabaseOptions(command);
}

async function run(source: string, input: string, options: CreateOptions): Promise<void> {
  const { json = false, embedded: _embedded, databaseUrl: _url, ...flags } = options;
  const environment = readEnvironment();
  const model = flags.model ?? standardModel(environment.config, flags.task);
  await withDatabase(options, environment, async ({ database }) => {
    await requireSchema(database);
    const definition = { source, input, ...flags, ...(model === undefined ? {} : { model }) };
    const name = await definePipeline(database, definition).catch((error: unknown) => {
      throw explainDeclaration(error);
    });
    const { target, dimensions, sourceRows, ...made } = await readMade(database, name);
    if (json) return printJson({ pipeline: name, target, model: made.model, dimensions, rows: sourceRows });
    const shape = dimensions === null ? '' : `, ${dimensions} dimensions`;
    print(`pipeline ${colours.bold(name)}: ${source} -> ${target}, ${made.model}${shape}`);
    if (options.enqueueExisting !== false) print(formatWork(sourceRows));
    say(errorColours.dim('A worker does it: pgembedder work'));
  });
}

/** How much is to be done; null: a worker counts the rows first. */
export function formatWork(sourceRows: number | null): string {
  return sourceRows === null ? 'a worker counts its rows' : `${plural(sourceRows, 'row')} to work on`;
}

/** The model that the settings name for a task. The database refuses an unknown task. */
function standardModel(config: Config, task: string = DEFAULT_TASK): string | undefined {
  return isTask(task) ? defaultModel(config, task)?.name : undefined;
}
