import { Command } from 'commander';
import { modelsCheckCommand } from './models-check.ts';
import { modelsListCommand } from './models-list.ts';
import { modelsPullCommand } from './models-pull.ts';
import { modelsRemoveCommand } from './models-remove.ts';

/** `pgembedder models ...`. None of these needs a database. */
export function modelsCommand(): Command {
  return new Command('models')
    .description('list, pull, check and remove models; needs no database')
    .addCommand(modelsListCommand())
    .addCommand(modelsPullCommand())
    .addCommand(modelsCheckCommand())
    .addCommand(modelsRemoveCommand())
    .helpCommand(false)
    .addHelpText('after', '\nExample:\n  $ pgembedder models pull Xenova/bge-small-en-v1.5');
}
