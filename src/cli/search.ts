import { Command, InvalidArgumentError } from 'commander';
import { requireSchema } from '../database/migrator.ts';
import { embedQuery, findNearest, findSearchable, MAX_MATCHES, type Match } from '../search/search.ts';
import { addDeviceOption, type DeviceOptions, openDevice, withEmbedder } from './embedder.ts';
import { formatMilliseconds, oneLine, plural } from './format.ts';
import { colours, errorColours, print, printJson, say, width } from './output.ts';
import { addDatabaseOptions, type DatabaseOptions, readEnvironment, withDatabase } from './session.ts';
import { type Column, formatTable } from './table.ts';

interface SearchOptions extends DatabaseOptions, DeviceOptions {
  k: number;
  json?: boolean;
}

/** `pgembedder search` */
export function searchCommand(): Command {
  const command = new Command('search')
    .description('find the rows of a pipeline that are nearest to a text')
    .argument('<pipeline>')
    .argument('<query>')
    .option('-k <count>', `how many, at most ${MAX_MATCHES}`, parseCount, 10)
    .option('--json', 'print key, similarity and input of each row as JSON')
    .addHelpText('after', '\nExample:\n  $ pgembedder search articles "how do I bake bread" -k 5')
    .action(run);
  return addDatabaseOptions(addDeviceOption(command));
}

/** A whole number from 1 to the most a search gives. */
export function parseCount(text: string): number {
  const count = Number(text);
  if (!Number.isInteger(count) || count < 1 || count > MAX_MATCHES)
    throw new InvalidArgumentError(`It is a whole number from 1 to ${MAX_MATCHES}.`);
  return count;
}

async function run(name: string, query: string, options: SearchOptions): Promise<void> {
  const environment = readEnvironment();
  await withDatabase(options, environment, async ({ database }) => {
    await requireSchema(database);
    const pipeline = await findSearchable(database, name);
    const device = await openDevice(environment, options);
    await withEmbedder(environment, device, async (embedder, store) => {
      const model = store.find(pipeline.model, 'feature-extraction');
      const begin = performance.now();
      const vector = await embedQuery(embedder, model, query, pipeline.options);
      const embedded = performance.now();
      const matches = await findNearest(database, pipeline, vector, options.k);
      const found = performance.now();
      if (options.json) return printJson(matches);
      for (const line of formatMatches(matches)) print(line);
      const times = `model loaded and query embedded in ${formatMilliseconds(embedded - begin)}, searched in ${formatMilliseconds(found - embedded)}`;
      say(errorColours.dim(`${plural(matches.length, 'row')}; ${times}`));
    });
  });
}

/** Similarity, key and input of each match, as a table. */
export function formatMatches(matches: readonly Match[]): string[] {
  if (matches.length === 0) return ['No vectors yet. pgembedder status shows how far the pipeline is.'];
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
