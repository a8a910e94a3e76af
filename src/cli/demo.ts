import { existsSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { Command, InvalidArgumentError, Option } from 'commander';
import { DEMO_TABLE, lastDemoRow } from '../database/demo-table.ts';
import { migrate } from '../database/migrate/migrate.ts';
import type { Device } from '../inference/devices/device.ts';
import type { Embedder } from '../inference/embedder.ts';
import { DEFAULT_MODEL } from '../models/choice.ts';
import { knownModels } from '../models/known-models.ts';
import { findSearchable } from '../search/search.ts';
import { featureExtraction } from '../tasks/feature-extraction.ts';
import { answer, type Dictionary } from './demo/answer.ts';
import { fill, load, type Stage } from './demo/fill.ts';
import { EXAMPLES, readQueries } from './demo/prompt.ts';
import { awaitLeases, type DemoFilling, prepareTable, readDemoFilling } from './demo/table.ts';
import { GLOSS_COUNT, type Gloss, readGlosses } from './demo/wordnet.ts';
import { addDeviceOption, createEmbedder, type DeviceOptions, openDevice } from './embedder.ts';
import { type Environment, readEnvironment } from './environment.ts';
import { formatCount } from './format.ts';
import { say } from './output.ts';
import { parseCount } from './search.ts';
import { StopSignals } from './signals.ts';
import { EMBEDDED_DIRECTORY, EmbeddedEnded, withDatabase } from './with-database.ts';

/** How long another command's embedded Postgres has to end before this one starts its own. */
const TAKEOVER_MS = 500;

/** Glosses that two cores embed and index in about half a minute. */
const DEFAULT_ROWS = 10_000;

interface DemoOptions extends DeviceOptions {
  embedded: string;
  databaseUrl?: string;
  rows: number;
  all?: boolean;
  k: number;
  json?: boolean;
}

/** `pgembedder demo` */
export function demoCommand(): Command {
  const command = new Command('demo')
    .description('a reverse dictionary to try: describe a word, and it is found by meaning')
    .argument('[query...]', 'answer this and end; without it, queries are asked for')
    .option('--rows <count>', `glosses to embed, of ${formatCount(GLOSS_COUNT)}`, parseRows, DEFAULT_ROWS)
    .option('--all', 'embed all of them; takes some minutes')
    .option('-k <count>', 'answers to each query', parseCount, 5)
    .option('--json', 'print answers as JSON')
    .addOption(
      new Option(
        '--embedded [dir]',
        'an embedded Postgres in this directory; put it last, or write --embedded=DIR',
      ).default(EMBEDDED_DIRECTORY),
    )
    // Not from DATABASE_URL: somebody who tries the demo has not asked for a table in that database.
    .option('--database-url <url>', 'make its table in this database instead; DATABASE_URL is not read')
    .addHelpText(
      'after',
      `\nCtrl-C at any moment; the next run goes on where it was.\n\nExample:\n  $ pgembedder demo\n  $ pgembedder demo "${EXAMPLES[0]}"`,
    )
    .action(run);
  return addDeviceOption(command);
}

function parseRows(text: string): number {
  const rows = Number(text);
  if (!Number.isInteger(rows) || rows < 1 || rows > GLOSS_COUNT)
    throw new InvalidArgumentError(`It is a whole number from 1 to ${GLOSS_COUNT}.`);
  return rows;
}

async function run(words: string[], options: DemoOptions): Promise<void> {
  const environment = readEnvironment();
  const device = await openDevice(environment, options);
  const signals = new StopSignals();
  signals.signal.addEventListener('abort', () => {
    // After the other listeners: a progress bar has to be removed first.
    queueMicrotask(() => say('\nStopping ... (a second Ctrl-C ends at once)'));
  });
  let reading: Promise<Gloss[]> | undefined;
  const glosses = () => {
    reading ??= readGlosses();
    return reading;
  };
  try {
    for (let told = false; ; told = true) {
      const ended = await playOnce(
        { environment, device, glosses, signals },
        words.join(' ').trim(),
        options,
      );
      if (!ended) break;
      if (!told) say('The command that ran the embedded Postgres has ended; this one goes on by itself.');
      // It is not quite gone yet.
      await wait(TAKEOVER_MS, undefined, { signal: signals.signal });
    }
  } catch (error) {
    if (!signals.stopped) throw error;
    say('Stopped; what is done is kept, and the next run goes on from here.');
    // A statement that was interrupted may still be waited for.
    process.exit(0);
  } finally {
    signals.dispose();
  }
}

/** What stays the same when the demo has to begin again. */
interface Setting {
  environment: Environment;
  device: Device;
  glosses(): Promise<Gloss[]>;
  signals: StopSignals;
}

/** Plays the demo. @returns whether the embedded Postgres has ended, with the other command that had started it */
async function playOnce(setting: Setting, query: string, options: DemoOptions): Promise<boolean> {
  const { environment, device, glosses, signals } = setting;
  const embedder = createEmbedder(environment, device);
  const database = options.databaseUrl
    ? { databaseUrl: options.databaseUrl }
    : { embedded: options.embedded };
  const gone = new AbortController();
  const signal = AbortSignal.any([signals.signal, gone.signal]);
  // The embedded Postgres takes a second to start and more in a new directory: model and glosses are read meanwhile.
  warmUp(embedder);
  if (!options.databaseUrl && !existsSync(options.embedded)) glosses().catch(() => {});
  try {
    await withDatabase(database, environment, async (open) => {
      open.ended.then((error) => gone.abort(error));
      await play({ ...open, environment, embedder, glosses, signal }, query, options);
      gone.signal.throwIfAborted();
    });
    return false;
  } catch (thrown) {
    // An aborted call has an error of its own, which says less.
    const error = gone.signal.aborted && !signals.stopped ? gone.signal.reason : thrown;
    if (error instanceof EmbeddedEnded && error.joined) return true;
    throw error;
  } finally {
    await embedder.stop();
  }
}

/** Has the model loaded. An error shows when the model is used. */
function warmUp(embedder: Embedder): void {
  embedder.embedTexts(embedder.find(DEFAULT_MODEL, featureExtraction.name), ['']).catch(() => {});
}

/** Until all rows have their vectors; another demo on the same folder may embed some of them. */
async function fillAll(stage: Stage): Promise<DemoFilling> {
  const { database, signal } = stage;
  for (let before: DemoFilling | undefined; ; ) {
    signal.throwIfAborted();
    await awaitLeases(database, signal, () =>
      say('Waiting for rows that a run before this one, or another worker, has in hand ...'),
    );
    const filling = await readDemoFilling(database);
    const stuck = filling.waiting === before?.waiting && filling.finished === before.finished;
    if ((filling.finished && filling.waiting === 0) || stuck) return filling;
    await fill(stage, filling);
    before = filling;
  }
}

async function play(stage: Stage, query: string, options: DemoOptions): Promise<void> {
  const { database, environment, embedder, signal } = stage;
  if (options.databaseUrl)
    await migrate(database, knownModels(environment.store, environment.endpoints, environment.logger));
  signal.throwIfAborted();
  await prepareTable(database);
  const rows = options.all ? GLOSS_COUNT : options.rows;
  if ((await lastDemoRow(database)) < rows) await load(stage, rows);
  signal.throwIfAborted();
  const filling = await fillAll(stage);

  const dictionary: Dictionary = {
    database,
    pipeline: await findSearchable(database, DEMO_TABLE),
    model: embedder.find(DEFAULT_MODEL, featureExtraction.name),
    embedder,
    rows: filling.rows,
    count: options.k,
    json: options.json ?? false,
  };
  if (query !== '') await answer(dictionary, query);
  else await readQueries((line) => answer(dictionary, line), signal);
}
