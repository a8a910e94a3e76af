import { Command } from 'commander';
import { modelName } from '../endpoints/endpoint.ts';
import { defaultModel } from '../models/choice.ts';
import { usedModels } from '../pipelines/list.ts';
import { featureExtraction } from '../tasks/feature-extraction.ts';
import { type Check, fail, type State } from './doctor/check.ts';
import { checkDatabase } from './doctor/database-checks.ts';
import { checkDevice } from './doctor/device-checks.ts';
import { checkEndpoints } from './doctor/endpoint-checks.ts';
import { checkModels } from './doctor/model-checks.ts';
import { checkPipelines } from './doctor/pipeline-checks.ts';
import { addDeviceOption, type DeviceOptions } from './embedder.ts';
import { readEnvironment } from './environment.ts';
import { reportError } from './errors.ts';
import { plural } from './format.ts';
import { colours, print, printJson } from './output.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

/** `pgembedder doctor` */
export function doctorCommand(): Command {
  const command = new Command('doctor')
    .description(
      'check database, rights, device, model, engine and pipelines, and say what to do about what is wrong',
    )
    .option('--json', 'print the checks as JSON')
    .addHelpText('after', '\nExits with 1 when a check has failed.\n\nExample:\n  $ pgembedder doctor')
    .action(run);
  return addDatabaseOptions(addDeviceOption(command));
}

async function run(options: DatabaseOptions & DeviceOptions & { json?: boolean }): Promise<void> {
  const environment = readEnvironment();
  const checks: Check[] = [];
  // Each line is shown as soon as it is known: a check may wait for a server that does not answer.
  const add = (check: Check) => {
    checks.push(check);
    if (!options.json) print(formatCheck(check));
  };
  const standard = defaultModel(environment.config, featureExtraction.name)!.name;
  let models = [standard];
  try {
    await withDatabase(options, environment, async (open) => {
      if (!(await checkDatabase(open, add))) return;
      await checkPipelines(open, add);
      const used = await usedModels(open.database);
      if (used.length > 0) models = used;
    });
  } catch (error) {
    // Whatever ended the checks of the database: the others need no database.
    add(fail('database', reportError(error).text.replace(/^pgembedder: /, '')));
  }
  const endpoints = checkEndpoints(environment, add);
  const elsewhere = endpoints.flatMap((endpoint) =>
    endpoint.models.map((model) => modelName(endpoint, model)),
  );
  const device = await checkDevice(environment, options, add);
  const { config, logger, store } = environment;
  await checkModels(
    { config, logger, store, endpoints },
    device,
    [...new Set([...models, ...elsewhere])],
    add,
  );
  const failed = checks.filter(({ state }) => state === 'fail').length;
  const warned = checks.filter(({ state }) => state === 'warn').length;
  if (options.json) printJson(checks);
  else print(`\n${verdict(failed, warned)}`);
  if (failed > 0) process.exitCode = 1;
}

function verdict(failed: number, warned: number): string {
  if (failed > 0) return colours.red(`${plural(failed, 'check')} failed`);
  return colours.green(warned > 0 ? `all well, ${plural(warned, 'warning')}` : 'all well');
}

const MARKS: Record<State, string> = {
  ok: colours.green('ok  '),
  warn: colours.yellow('warn'),
  fail: colours.red('fail'),
};

/** One line, and a second one that says what to do. */
export function formatCheck({ state, name, found, advice }: Check): string {
  const line = `${MARKS[state]}  ${colours.bold(name.padEnd(10))}  ${found}`;
  return advice === null ? line : `${line}\n                  ${colours.dim('->')} ${advice}`;
}
