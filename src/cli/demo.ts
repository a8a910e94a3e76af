import { existsSync } from 'node:fs';
import { Command, InvalidArgumentError, Option } from 'commander';
import { migrate } from '../database/migrator.ts';
import { variantOrder } from '../inference/devices/device.ts';
import { DEFAULT_MODEL } from '../models/choice.ts';
import { knownModels } from '../models/known-models.ts';
import { findSearchable } from '../search/search.ts';
import { answer, type Dictionary } from './demo/answer.ts';
import { CountingEmbedder } from './demo/counting-embedder.ts';
import { fill, load, type Stage } from './demo/fill.ts';
import { EXAMPLES, readQueries } from './demo/prompt.ts';
import { awaitLeases, countRows, prepareTable, readFilling, TABLE } from './demo/table.ts';
import { GLOSS_COUNT, type Gloss, readGlosses } from './demo/wordnet.ts';
import { addDeviceOption, createEngine, type DeviceOptions, openDevice } from './embedder.ts';
import { formatCount } from './format.ts';
import { say } from './output.ts';
import { parseCount } from './search.ts';
import { EMBEDDED_DIRECTORY, type Environment, openStore, readEnvironment, withDatabase } from './session.ts';
import { StopSignals } from './signals.ts';

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
    // Not from DATABASE_URL: who tries the demo has not asked for a table in that database.
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
  const settings = readEnvironment();
  const device = await openDevice(settings, options);
  const environment = { ...settings, store: openStore(settings.config, variantOrder(device)) };
  const signals = new StopSignals();
  const engine = createEngine(environment, device);
  const embedder = new CountingEmbedder({ engine, tokenBudget: environment.config.PGEMBEDDER_TOKEN_BUDGET });
  const database = options.databaseUrl
    ? { databaseUrl: options.databaseUrl }
    : { embedded: options.embedded };
  signals.signal.addEventListener('abort', () => {
    // After those who hear it too: a progress bar has to go first.
    queueMicrotask(() => say('\nStopping ... (a second Ctrl-C ends at once)'));
  });
  let reading: Promise<Gloss[]> | undefined;
  const glosses = () => {
    reading ??= readGlosses();
    return reading;
  };
  // The embedded Postgres takes a second to start and more in a new directory: model and glosses are read meanwhile.
  warmUp(embedder, environment);
  if (!options.databaseUrl && !existsSync(options.embedded)) glosses().catch(() => {});
  try {
    await withDatabase(database, environment, (session) =>
      play(
        { ...session, environment, engine, embedder, glosses, signal: signals.signal },
        words.join(' ').trim(),
        options,
      ),
    );
  } catch (error) {
    if (!signals.stopped) throw error;
    say('Stopped; what is done is kept, and the next run goes on from here.');
    // A statement that was cut off may still be waited for.
    process.exit(0);
  } finally {
    signals.dispose();
    await engine.stop();
  }
}

/** Has the model loaded; what goes wrong shows when it is wanted. */
function warmUp(embedder: CountingEmbedder, { store }: Environment): void {
  embedder.embedTexts(store.find(DEFAULT_MODEL, 'feature-extraction'), ['']).catch(() => {});
}

async function play(stage: Stage, query: string, options: DemoOptions): Promise<void> {
  const { database, environment, embedder, signal } = stage;
  if (options.databaseUrl) await migrate(database, knownModels(environment.store, environment.logger));
  signal.throwIfAborted();
  await prepareTable(database);
  const rows = options.all ? GLOSS_COUNT : options.rows;
  if ((await countRows(database)) < rows) await load(stage, rows);
  signal.throwIfAborted();
  await awaitLeases(database, signal, () =>
    say('Waiting for rows that a run before this one, or another worker, has in hand ...'),
  );
  const filling = await readFilling(database);
  if (!filling.finished || filling.waiting > 0) await fill(stage, filling);
  signal.throwIfAborted();

  const dictionary: Dictionary = {
    database,
    pipeline: await findSearchable(database, TABLE),
    model: environment.store.find(DEFAULT_MODEL, 'feature-extraction'),
    embedder,
    rows: filling.rows,
    count: options.k,
    json: options.json ?? false,
  };
  if (query !== '') await answer(dictionary, query);
  else await readQueries((line) => answer(dictionary, line), signal);
}
