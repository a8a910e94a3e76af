import { type Command, InvalidArgumentError, Option } from 'commander';
import { tasks } from '../tasks/tasks.ts';

/** The flags that `pipeline create` and `pipeline alter` share. */
export function addDeclarationOptions(command: Command): Command {
  return command
    .option('--model <name>', 'a catalog name, or ORG/NAME')
    .option('--task <task>', tasks.map(({ name }) => name).join(', '))
    .option('--target-column <column>', 'write into this column of the source; added when missing')
    .option('--target-table <table>', 'write into this sidecar table')
    .option(
      '--chunking <json>',
      'cut long texts: {"strategy": "recursive", "size": 256}',
      objectLike('{"strategy": "recursive", "size": 256}'),
    )
    .option(
      '--options <json>',
      "the task's own, such as prompt, dimensions, labels",
      objectLike('{"prompt": "passage: "}'),
    )
    .option('--filter <condition>', 'only rows for which this SQL condition holds')
    .addOption(
      new Option('--index <kind>', 'built after the first filling').choices(['hnsw', 'ivfflat', 'none']),
    )
    .option(
      '--index-options <json>',
      'm, ef_construction, lists, operator_class',
      objectLike('{"m": 16, "ef_construction": 64}'),
    )
    .option('--priority <number>', 'the highest is served first', parseWhole)
    .option('--max-attempts <number>', 'of a row that fails', parseWhole)
    .option('--notify', 'tell of each completed batch by NOTIFY on the channel embedder_done')
    .option('--no-notify', 'do not');
}

function parseWhole(text: string): number {
  if (!/^-?\d{1,9}$/.test(text)) throw new InvalidArgumentError('It is a whole number.');
  return Number(text);
}

/** Reads a JSON object. @param example what it may look like */
function objectLike(example: string): (text: string) => object {
  return (text) => {
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch {
      value = null;
    }
    if (typeof value !== 'object' || value === null || Array.isArray(value))
      throw new InvalidArgumentError(`It is a JSON object, such as '${example}'.`);
    return value;
  };
}
