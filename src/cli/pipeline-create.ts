import { Command, InvalidArgumentError, Option } from 'commander';
import { sql } from 'kysely';
import { requireSchema } from '../database/migrator.ts';
import { definePipeline, type PipelineDefinition } from '../pipelines/define.ts';
import { plural } from './format.ts';
import { colours, errorColours, print, printJson, say } from './output.ts';
import { addDatabaseOptions, type DatabaseOptions, readEnvironment, withDatabase } from './session.ts';

type Flags = Omit<PipelineDefinition, 'source' | 'input'>;
type CreateOptions = DatabaseOptions & Flags & { json?: boolean };

/** `pgembedder pipeline create` */
export function pipelineCreateCommand(): Command {
  const command = new Command('create')
    .description('declare a pipeline: keeps the vectors of a table in step with its text')
    .argument('<source>', 'the table, as SQL writes it: articles, blog.articles')
    .argument('<input>', 'a column, or a template of columns: {title}\\n{body}')
    .option('--name <name>', "the pipeline's name (default: the table's)")
    .option('--model <name>', 'a catalog name, or ORG/NAME (default: all-MiniLM-L6-v2)')
    .option('--target-column <column>', 'write into this column of the source; added when missing')
    .option('--target-table <table>', 'write into this sidecar table (default: NAME_embedding)')
    .option('--options <json>', 'pooling, normalize, prompt, dimensions', parseOptions)
    .addOption(
      new Option('--index <kind>', 'built after the first filling (default: hnsw)').choices([
        'hnsw',
        'ivfflat',
        'none',
      ]),
    )
    .option('--priority <number>', 'the highest is served first (default: 0)', parseWhole)
    .option('--max-attempts <number>', 'of a row that fails (default: 5)', parseWhole)
    .option('--no-enqueue-existing', 'embed only rows that change from now on')
    .option('--if-not-exists', 'leave a pipeline of this name as it is')
    .option('--json', 'print name and jobs as JSON')
    .addHelpText(
      'after',
      `
Example:
  $ pgembedder pipeline create articles "{title}\\n{body}"
  $ pgembedder pipeline create articles body --name by_body --target-column embedding`,
    )
    .action(run);
  return addDatabaseOptions(command);
}

async function run(source: string, input: string, options: CreateOptions): Promise<void> {
  const { json = false, embedded: _embedded, databaseUrl: _url, ...flags } = options;
  await withDatabase(options, readEnvironment(), async ({ database }) => {
    await requireSchema(database);
    const name = await definePipeline(database, { source, input, ...flags });
    const { rows } = await sql<{ target: string; model: string; dimensions: number; jobs: number }>`
      select format('%s.%I', p.target_table, p.target_column) as target, p.model, p.dimensions,
        (select count(*) from embedder.job j where j.pipeline_id = p.id) as jobs
      from embedder.pipeline p where p.name = ${name}`.execute(database);
    const { target, model, dimensions, jobs } = rows[0]!;
    if (json) return printJson({ pipeline: name, target, model, dimensions, jobs });
    print(`pipeline ${colours.bold(name)}: ${source} -> ${target}, ${model}, ${dimensions} dimensions`);
    print(`${plural(jobs, 'row')} on the queue`);
    say(errorColours.dim('A worker embeds them: pgembedder work'));
  });
}

function parseWhole(text: string): number {
  if (!/^-?\d{1,9}$/.test(text)) throw new InvalidArgumentError('It is a whole number.');
  return Number(text);
}

function parseOptions(text: string): object {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    value = null;
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new InvalidArgumentError(`It is a JSON object, such as '{"prompt": "passage: "}'.`);
  return value;
}
