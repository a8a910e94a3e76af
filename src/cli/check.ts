import { Command } from 'commander';
import type { Database } from '../database/database.ts';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { UserError } from '../errors.ts';
import { checkPipelines, type PipelineReport, repairPipeline } from '../pipelines/verify.ts';
import { compareSample, type Difference } from './check-sample.ts';
import { addDeviceOption, type DeviceOptions, openDevice, withEmbedder } from './embedder.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { formatCount, oneLine, plural } from './format.ts';
import { colours, print, printJson } from './output.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

interface CheckOptions extends DatabaseOptions, DeviceOptions {
  deep?: boolean;
  repair?: boolean;
  json?: boolean;
}

/** A report, and what a look at a sample of the results has found; null where none was taken. */
type Checked = PipelineReport & { readonly differences: readonly Difference[] | null };

/** `pgembedder check` */
export function checkCommand(): Command {
  const command = new Command('check')
    .description('compare each row with its result, and the queue and the counts with the rows')
    .argument('[pipeline]', 'this one only; without it all')
    .option('--deep', 'compute a sample of the results again, by the models on this machine, and compare')
    .option('--repair', 'queue what is wrong, and just that; a worker puts it right')
    .option('--json', 'print what was found as JSON')
    .addHelpText(
      'after',
      '\nExits with 1 when something is wrong.\n\nExample:\n  $ pgembedder check articles --repair',
    )
    .action(run);
  return addDatabaseOptions(addDeviceOption(command));
}

async function run(pipeline: string | undefined, options: CheckOptions): Promise<void> {
  const environment = readEnvironment();
  await withDatabase(options, environment, async ({ database }) => {
    await requireSchema(database);
    const reports = await checkPipelines(database, pipeline);
    const differences = options.deep ? await lookDeeper(database, environment, options, reports) : null;
    const checked = reports.map((report): Checked => {
      const found = differences?.get(report.pipeline) ?? null;
      return { ...report, well: report.well && (found ?? []).length === 0, differences: found };
    });
    if (options.json) printJson(checked);
    else if (checked.length === 0) print('No pipelines.');
    else for (const line of checked.flatMap(format)) print(line);
    const wrong = checked.filter(({ well }) => !well);
    if (wrong.length > 0) process.exitCode = 1;
    if (!options.repair) return;
    const mendable = wrong.filter(isReadable);
    for (const report of mendable) await repairPipeline(database, report);
    if (mendable.length > 0 && !options.json)
      print(`\nWhat was wrong is queued for ${plural(mendable.length, 'pipeline')}.`);
  });
}

/** Whether rows of the pipeline could be looked at. */
const isReadable = ({ sourceRows, rows }: PipelineReport) => sourceRows !== null || rows.length > 0;

async function lookDeeper(
  database: Database,
  environment: Environment,
  options: DeviceOptions,
  reports: readonly PipelineReport[],
): Promise<Map<string, readonly Difference[]>> {
  const device = await openDevice(environment, options);
  return withEmbedder(environment, device, async (embedder) => {
    const found = new Map<string, readonly Difference[]>();
    for (const { pipeline } of reports.filter(isReadable)) {
      try {
        found.set(pipeline, await compareSample(database, embedder, pipeline));
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        throw new UserError(`${pipeline}: ${error.message}`, {
          hint: error.hint ?? 'See pgembedder doctor',
          cause: error,
        });
      }
    }
    return found;
  });
}

function format({ pipeline, well, problems, faults, rows, sourceRows, differences }: Checked): string[] {
  const looked = sourceRows === null ? '' : `, ${formatCount(sourceRows)} rows`;
  const deep = differences === null ? '' : ', a sample computed again';
  if (well) return [`${colours.green('ok  ')}  ${colours.bold(pipeline)}${looked}${deep}`];
  return [
    `${colours.red('fail')}  ${colours.bold(pipeline)}${looked}${deep}`,
    ...problems.map((problem) => `      ${problem}`),
    ...Object.entries(faults).map(([fault, count]) => {
      const keys = rows.filter((row) => row.fault === fault).map(({ rowKey }) => oneLine(rowKey, 40));
      const more = count > keys.length ? ', ...' : '';
      return `      ${formatCount(count)} ${fault.replaceAll('_', ' ')}: ${keys.join(', ')}${more}`;
    }),
    ...(differences ?? []).map(
      ({ rowKey, chunk, found }) =>
        `      ${oneLine(rowKey, 40)}${chunk > 0 ? `, chunk ${chunk}` : ''}: ${found}`,
    ),
  ];
}
