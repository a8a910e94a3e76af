import { Command } from 'commander';
import { type Config, describeSettings } from '../config.ts';
import { messageOf } from '../errors.ts';
import { startHttpServer } from '../http/server.ts';
import { pinnedVariants } from '../models/choice.ts';
import { foundModels } from '../models/known-models.ts';
import { modelsDirectory } from '../models/places.ts';
import { createWorker, type DrainResult, type Worker } from '../worker/worker.ts';
import { addDeviceOption, type DeviceOptions, engineOptions } from './embedder.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { formatCount, formatSeconds, plural } from './format.ts';
import { httpSettings } from './http-settings.ts';
import { colours, print, printJson, say } from './output.ts';
import { saveFoundModels } from './save-models.ts';
import { StopSignals } from './signals.ts';
import {
  addDatabaseOptions,
  type DatabaseOptions,
  type OpenDatabase,
  withDatabase,
} from './with-database.ts';

interface WorkOptions extends DatabaseOptions, DeviceOptions {
  once?: boolean;
  json?: boolean;
}

/** How long a stop may take beyond the set time, to which the worker itself keeps. */
const STOP_GRACE_MS = 3_000;

/** `pgembedder work` */
export function workCommand(): Command {
  const command = new Command('work')
    .description('run a worker: embeds what is due, until it is stopped')
    .option('--once', 'stop when nothing is due any more, and print a summary')
    .option('--json', 'with --once: print the summary as JSON')
    .addHelpText('after', help)
    .action(run);
  return addDatabaseOptions(addDeviceOption(command));
}

function help(): string {
  const settings = describeSettings().map(
    ({ name, fallback, meaning }) =>
      `  ${name}${fallback === null ? '' : ` [${fallback}]`}\n      ${meaning}`,
  );
  return `
SIGTERM and Ctrl-C let batches under way end, give the rest back and exit with 0; a second one ends at once.

Environment:
${settings.join('\n')}

Example:
  $ DATABASE_URL=postgres://me@localhost/mydb pgembedder work
  $ pgembedder work --once --embedded`;
}

async function run(options: WorkOptions): Promise<void> {
  const environment = readEnvironment(true);
  const signals = new StopSignals();
  // Written to the log, which is JSON where it is piped.
  const notice = (line: string) => environment.logger.warn(line);
  try {
    await withDatabase(options, environment, (open) => work(open, environment, signals, options), notice);
  } catch (error) {
    // An error because it was stopped while it started is not reported.
    if (!signals.stopped) throw error;
  } finally {
    signals.dispose();
  }
}

async function work(
  open: OpenDatabase,
  environment: Environment,
  signals: StopSignals,
  options: WorkOptions,
): Promise<void> {
  const { config, logger, store, endpoints } = environment;
  const worker = createWorker({
    ...{ connection: open.connection, logger, endpoints },
    ...workerSettings(config, options),
  });
  // The worker waits for a server that is away, and says what to do about a missing schema: so only when both are there.
  let saved = Promise.resolve();
  worker.events.once('started', () => {
    saved = saveFoundModels(open.database, foundModels(store, endpoints, logger), logger).catch(
      (error: unknown) =>
        logger.warn({ reason: messageOf(error) }, 'models found are not written to embedder.model'),
    );
  });
  signals.signal.addEventListener('abort', () => {
    logger.info('stopping; a second signal ends at once');
    void worker.stop();
    // A statement that the server is working on (a large index) can hold up the stop. The process may end without it:
    // the server finishes the statement alone, and leases run out.
    setTimeout(
      () => {
        logger.warn('stopping took too long, ending with a statement under way');
        process.exit(0);
      },
      config.PGEMBEDDER_STOP_SECONDS * 1_000 + STOP_GRACE_MS,
    ).unref();
  });
  if (options.once) {
    const summary = await worker.drain();
    await saved;
    report(summary, options.json ?? false);
    if (summary.failing.length > 0) process.exitCode = 1;
  } else {
    await serve(worker, open, signals, environment);
  }
}

async function serve(
  worker: Worker,
  open: OpenDatabase,
  signals: StopSignals,
  environment: Environment,
): Promise<void> {
  const { logger } = environment;
  const settings = httpSettings(environment);
  const { connection } = open;
  const http = settings && (await startHttpServer({ ...settings, served: worker, connection, logger }));
  try {
    await worker.start();
    const ended = open.ended.then((error) => {
      throw error;
    });
    await Promise.race([signals.wait(), ended]);
  } finally {
    await worker.stop();
    await http?.close();
  }
}

/** The settings of a worker. */
function workerSettings(config: Config, { device }: DeviceOptions) {
  return {
    device: device ?? config.PGEMBEDDER_DEVICE,
    modelDirectories: [modelsDirectory(config)],
    pinnedVariants: pinnedVariants(config),
    engine: engineOptions(config),
    tokenBudget: config.PGEMBEDDER_TOKEN_BUDGET,
    window: config.PGEMBEDDER_WINDOW,
    leaseSeconds: config.PGEMBEDDER_LEASE_SECONDS,
    quietIdle:
      config.PGEMBEDDER_QUIET_IDLE === undefined ? undefined : { lookSeconds: config.PGEMBEDDER_QUIET_IDLE },
    stopSeconds: config.PGEMBEDDER_STOP_SECONDS,
    backoff: {
      baseSeconds: config.PGEMBEDDER_RETRY_BASE_SECONDS,
      limitSeconds: config.PGEMBEDDER_RETRY_LIMIT_SECONDS,
    },
  };
}

function report(summary: DrainResult, json: boolean): void {
  const { embedded, emptied, superseded, retried, dead, seconds, failing, heldElsewhere } = summary;
  const rate = embedded / seconds;
  if (json) {
    printJson({
      ...{ embedded, emptied, superseded, retried, dead, seconds, rows_per_second: rate, failing },
      held_elsewhere: heldElsewhere,
    });
    return;
  }
  const parts = [
    colours.bold(`${plural(embedded, 'row')} embedded`),
    ...(emptied > 0 ? [`${formatCount(emptied)} emptied`] : []),
    ...(retried > 0 ? [colours.yellow(`${formatCount(retried)} to be retried`)] : []),
    ...(dead > 0 ? [colours.red(`${formatCount(dead)} dead`)] : []),
    ...(embedded > 0
      ? [`${formatSeconds(seconds)} (${formatCount(rate)} rows/s)`]
      : [formatSeconds(seconds)]),
  ];
  print(parts.join(', '));
  if (heldElsewhere > 0) print(`${plural(heldElsewhere, 'row')} held by other workers`);
  if (dead > 0) say('Dead letters are in embedder.failed_job; pgembedder retry brings them back.');
  for (const { pipeline, error } of failing)
    print(colours.red(`pipeline ${pipeline} does not work: ${error}`));
}
