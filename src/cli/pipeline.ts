import { Command } from 'commander';
import type { Database } from '../database/database.ts';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { cutOver, dropPipeline, pausePipeline, resumePipeline } from '../pipelines/commands.ts';
import { countJobs } from '../queue/counts.ts';
import { readEnvironment } from './environment.ts';
import { plural } from './format.ts';
import { print, printJson } from './output.ts';
import { pipelineAlterCommand } from './pipeline-alter.ts';
import { pipelineCreateCommand } from './pipeline-create.ts';
import { pipelineListCommand } from './pipeline-list.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

interface Options extends DatabaseOptions {
  json?: boolean;
  dropTarget?: boolean;
}

/** `pgembedder pipeline ...` */
export function pipelineCommand(): Command {
  return new Command('pipeline')
    .description('list, create, alter, cut over, drop, pause and resume pipelines')
    .addCommand(pipelineListCommand())
    .addCommand(pipelineCreateCommand())
    .addCommand(pipelineAlterCommand())
    .addCommand(cutoverCommand())
    .addCommand(dropCommand())
    .addCommand(pauseCommand())
    .addCommand(resumeCommand())
    .helpCommand(false)
    .addHelpText('after', '\nExample:\n  $ pgembedder pipeline create articles "{title}\\n{body}"');
}

function dropCommand(): Command {
  const command = new Command('drop')
    .description('remove a pipeline with its jobs and triggers; what it has written stays')
    .option('--drop-target', 'remove its sidecar table, or its column of the source, as well')
    .addHelpText('after', '\nExample:\n  $ pgembedder pipeline drop articles');
  return onPipeline(command, async (database, name, { dropTarget = false }) => {
    await dropPipeline(database, name, dropTarget);
    return `pipeline ${name} dropped${dropTarget ? ', and its target' : '; what it has written stays'}`;
  });
}

function cutoverCommand(): Command {
  const command = new Command('cutover')
    .description('make the next generation of a pipeline the live one')
    .addHelpText('after', '\nExample:\n  $ pgembedder pipeline cutover articles');
  return onPipeline(command, async (database, name) => {
    await cutOver(database, name);
    return `the next generation of pipeline ${name} is live`;
  });
}

function pauseCommand(): Command {
  const command = new Command('pause')
    .description('let changes gather without being embedded')
    .addHelpText('after', '\nExample:\n  $ pgembedder pipeline pause articles');
  return onPipeline(command, async (database, name) => {
    await pausePipeline(database, name);
    return `pipeline ${name} paused; changes are still queued`;
  });
}

function resumeCommand(): Command {
  const command = new Command('resume')
    .description('end a pause, and clear an error')
    .addHelpText('after', '\nExample:\n  $ pgembedder pipeline resume articles');
  return onPipeline(command, async (database, name) => {
    await resumePipeline(database, name);
    const { jobs } = await countJobs(database, name);
    return `pipeline ${name} resumed; ${plural(jobs, 'row')} on the queue`;
  });
}

/** A command that does one thing to one pipeline, and says what. */
function onPipeline(
  command: Command,
  act: (database: Database, name: string, options: Options) => Promise<string>,
): Command {
  command
    .argument('<name>')
    .option('--json', 'print the name as JSON')
    .action(async (name: string, options: Options) => {
      await withDatabase(options, readEnvironment(), async ({ database }) => {
        await requireSchema(database);
        const done = await act(database, name, options);
        if (options.json) printJson({ pipeline: name });
        else print(done);
      });
    });
  return addDatabaseOptions(command);
}
