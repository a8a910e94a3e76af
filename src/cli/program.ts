import { Command } from 'commander';
import { version } from '../version.ts';
import { backfillCommand } from './backfill.ts';
import { checkCommand } from './check.ts';
import { classifyCommand } from './classify.ts';
import { demoCommand } from './demo.ts';
import { doctorCommand } from './doctor.ts';
import { embedCommand } from './embed.ts';
import { migrateCommand } from './migrate.ts';
import { modelsCommand } from './models.ts';
import { errorColours } from './output.ts';
import { pipelineCommand } from './pipeline.ts';
import { rerankCommand } from './rerank.ts';
import { retryCommand } from './retry.ts';
import { searchCommand } from './search.ts';
import { serveCommand } from './serve.ts';
import { statusCommand } from './status.ts';
import { workCommand } from './work.ts';

/** The command line. Errors of usage are thrown as CommanderError. */
export function createProgram(): Command {
  const program = new Command('pgembedder')
    .description('Keeps vectors in Postgres in step with the text they come from.')
    .version(version)
    .addCommand(demoCommand())
    .addCommand(migrateCommand())
    .addCommand(workCommand())
    .addCommand(serveCommand())
    .addCommand(statusCommand())
    .addCommand(pipelineCommand())
    .addCommand(modelsCommand())
    .addCommand(backfillCommand())
    .addCommand(retryCommand())
    .addCommand(searchCommand())
    .addCommand(embedCommand())
    .addCommand(classifyCommand())
    .addCommand(rerankCommand())
    .addCommand(checkCommand())
    .addCommand(doctorCommand())
    .helpCommand(false)
    .addHelpText('after', GETTING_STARTED);
  prepare(program);
  return program;
}

const GETTING_STARTED = `
Try it, with no database of your own:
  $ pgembedder demo

On your database:
  $ export DATABASE_URL=postgres://user:password@localhost:5432/mydb
  $ pgembedder migrate
  $ pgembedder pipeline create articles body
  $ pgembedder work

pgembedder COMMAND --help says more about each.`;

/** Settings that Commander does not pass on to commands that were made separately. */
function prepare(command: Command): void {
  command
    .exitOverride()
    .showSuggestionAfterError()
    .configureHelp({ showGlobalOptions: false, styleTitle: (text) => errorColours.bold(text) })
    .configureOutput({ outputError: () => {} });
  for (const child of command.commands) prepare(child);
}
