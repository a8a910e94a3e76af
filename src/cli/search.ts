import { Command, InvalidArgumentError } from 'commander';
import type { Database } from '../database/database.ts';
import { requireSchema } from '../database/migrate/applied-files.ts';
import { EngineError } from '../inference/backend/engine-error.ts';
import type { TextEmbedder } from '../inference/text-embedder.ts';
import type { VectorModel } from '../model-files/description.ts';
import { waitFor } from '../pipelines/wait-for.ts';
import {
  embedQuery,
  findNearest,
  findSearchable,
  MAX_MATCHES,
  type Match,
  type SearchablePipeline,
} from '../search/search.ts';
import { featureExtraction, isSparse } from '../tasks/feature-extraction.ts';
import { addDeviceOption, type DeviceOptions, openDevice, withEmbedder } from './embedder.ts';
import { readEnvironment } from './environment.ts';
import { formatMilliseconds, oneLine, plural } from './format.ts';
import { colours, errorColours, print, printJson, say, width } from './output.ts';
import { readText } from './read-text.ts';
import { StopSignals } from './signals.ts';
import { answerLines, requireOneInput, STDIN_FLAG } from './stdin-lines.ts';
import { type Column, formatTable } from './table.ts';
import { addDatabaseOptions, type DatabaseOptions, withDatabase } from './with-database.ts';

interface SearchOptions extends DatabaseOptions, DeviceOptions {
  k: number;
  stdin?: boolean;
  json?: boolean;
  /** Seconds. */
  wait?: number | true;
}

/** `pgembedder search` */
export function searchCommand(): Command {
  const command = new Command('search')
    .description('find the rows of a pipeline that are nearest to a text')
    .argument('<pipeline>')
    .argument('[query]', 'the text; - reads it from stdin')
    .option('--stdin', STDIN_FLAG)
    .option('-k <count>', `how many, at most ${MAX_MATCHES}`, parseCount, 10)
    .option(
      '--wait [seconds]',
      `first wait until all rows have their vectors, at most so long (default: ${WAIT_SECONDS}); put it last`,
      parseSeconds,
    )
    .option('--json', 'print key, similarity and input of each row as JSON')
    .addHelpText(
      'after',
      '\nExample:\n  $ pgembedder search articles "how do I bake bread" -k 5\n  $ pgembedder search articles "how do I bake bread" --wait',
    )
    .action(run);
  return addDatabaseOptions(addDeviceOption(command));
}

/** What is said where nothing is found. */
const NO_VECTORS = 'No vectors yet. pgembedder status shows how far the pipeline is.';
const NO_TERM =
  'No row has a term in common with it, of those that have a vector. pgembedder status shows how far the pipeline is.';

/** How long `--wait` waits by default. */
const WAIT_SECONDS = 60;

/** A whole number from 1 to the most a search gives. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > MAX_MATCHES)
    throw new InvalidArgumentError(`It is a whole number from 1 to ${MAX_MATCHES}.`);
  return count;
}

function parseSeconds(text: string): number {
  const seconds = Number(text);
  if (text.trim() === '' || !(seconds >= 0 && seconds <= 86_400))
    throw new InvalidArgumentError('It is a number of seconds; without one, put --wait last.');
  return seconds;
}

async function run(name: string, query: string | undefined, options: SearchOptions): Promise<void> {
  requireOneInput(query, options.stdin, 'query');
  const environment = readEnvironment();
  await withDatabase(options, environment, async ({ database }) => {
    await requireSchema(database);
    const pipeline = await findSearchable(database, name);
    if (options.wait !== undefined) await waitForRows(database, name, options.wait);
    const device = await openDevice(environment, options);
    await withEmbedder(environment, device, async (embedder) => {
      const model = embedder.find(pipeline.model, featureExtraction.name);
      if (query === undefined)
        return answerLines((texts) => searchEach(texts, database, pipeline, embedder, model, options.k));
      const begin = performance.now();
      const vector = await embedQuery(embedder, model, await readText(query), pipeline.options);
      const embedded = performance.now();
      const matches = await findNearest(database, pipeline, vector, options.k);
      const found = performance.now();
      if (options.json) return printJson(matches);
      for (const line of formatMatches(matches, isSparse(pipeline.options) ? NO_TERM : NO_VECTORS))
        print(line);
      const times = `model loaded and query embedded in ${formatMilliseconds(embedded - begin)}, searched in ${formatMilliseconds(found - embedded)}`;
      say(errorColours.dim(`${plural(matches.length, 'row')}; ${times}`));
    });
  });
}

/** One query after the other: each is a statement of its own. */
async function searchEach(
  texts: readonly string[],
  database: Database,
  pipeline: SearchablePipeline,
  embedder: TextEmbedder,
  model: VectorModel,
  k: number,
): Promise<(object | EngineError)[]> {
  const results: (object | EngineError)[] = [];
  for (const text of texts) {
    try {
      const vector = await embedQuery(embedder, model, text, pipeline.options);
      results.push({ matches: await findNearest(database, pipeline, vector, k) });
    } catch (error) {
      // What concerns the model concerns every line.
      if (!(error instanceof EngineError && error.blamesBatch) && !isNotFinite(error)) throw error;
      results.push(error as EngineError);
    }
  }
  return results;
}

function isNotFinite(error: unknown): boolean {
  return error instanceof EngineError && error.kind === 'not-finite';
}

async function waitForRows(database: Database, name: string, seconds: number | true): Promise<void> {
  const signals = new StopSignals();
  try {
    await waitFor(database, name, {
      timeoutMs: (seconds === true ? WAIT_SECONDS : seconds) * 1_000,
      signal: signals.signal,
      onWait: () => say(errorColours.dim(`Waiting until the rows of ${name} have their vectors ...`)),
    });
  } finally {
    signals.dispose();
  }
}

/** Similarity, key and input of each match, as a table. */
export function formatMatches(matches: readonly Match[], nothing = NO_VECTORS): string[] {
  if (matches.length === 0) return [nothing];
  const keys = Object.keys(matches[0]!.key);
  const keyColumn = (name: string): Column<Match> => ({
    title: name,
    ...(typeof matches[0]!.key[name] === 'number' ? { align: 'right' as const } : {}),
    text: ({ key }) => oneLine(String(key[name]), 60),
  });
  const left = 12 + keys.reduce((sum, name) => sum + keyWidth(matches, name) + 2, 0);
  return formatTable(matches, [
    {
      title: 'similarity',
      align: 'right',
      text: ({ similarity }) => similarity.toFixed(3),
      paint: (text) => colours.cyan(text),
    },
    ...keys.map(keyColumn),
    { title: 'input', text: ({ input }) => oneLine(input ?? '', Math.max(20, width() - left)) },
  ]);
}

function keyWidth(matches: readonly Match[], name: string): number {
  return Math.max(name.length, ...matches.map(({ key }) => oneLine(String(key[name]), 60).length));
}
