import { once } from 'node:events';
import { CommanderError } from 'commander';
import { EngineError } from '../inference/backend/engine-error.ts';
import { limits } from '../limits.ts';
import { UsageError } from './errors.ts';

/** Lines that are worked on at once. */
const GROUP = 256;
const NEWLINE = 0x0a;

/** A line of the input, or why it is none. */
type Line = { readonly text: string } | { readonly error: string };

/** The flag's description. */
export const STDIN_FLAG = 'one text a line from stdin; prints a JSON object a line, in their order';

/** @throws UsageError, CommanderError unless just one of the argument and --stdin is given */
export function requireOneInput(given: unknown, stdin: boolean | undefined, name: string): void {
  const isGiven = Array.isArray(given) ? given.length > 0 : given !== undefined;
  if (isGiven && stdin)
    throw new UsageError(`${name} and --stdin exclude each other`, { hint: 'Give one of them' });
  // As for an argument that is needed in any case: what is said of it looks at the other arguments.
  if (!isGiven && !stdin)
    throw new CommanderError(1, 'commander.missingArgument', `error: missing required argument '${name}'`);
}

/**
 * Works on the lines of stdin as they come, and prints a JSON object for each: `line`, from 1, and what came of it, or `error`. A line that
 * cannot be worked on costs no others; the exit code is 1 then. A line ends with LF or CRLF; a byte order mark at the beginning is none of it.
 * @param work gives as many results as there are texts
 */
export async function answerLines(
  work: (texts: readonly string[]) => Promise<readonly (object | EngineError)[]>,
): Promise<void> {
  let number = 0;
  for await (const lines of readGroups(process.stdin)) {
    const texts = lines.flatMap((line) => ('text' in line ? [line.text] : []));
    const results = [...(texts.length > 0 ? await work(texts) : [])];
    for (const line of lines) {
      const result = 'text' in line ? results.shift()! : line;
      await write({ line: ++number, ...(result instanceof EngineError ? asError(result) : result) });
    }
  }
}

function asError({ message, hint }: EngineError): { error: string; hint: string | null } {
  return { error: message, hint: hint ?? null };
}

async function write(answer: object): Promise<void> {
  if ('error' in answer) process.exitCode = 1;
  if (!process.stdout.write(`${JSON.stringify(answer)}\n`)) await once(process.stdout, 'drain');
}

/** The lines of what has arrived, at most so many at once. Of a line that is too long only its length is kept. */
async function* readGroups(input: NodeJS.ReadableStream): AsyncGenerator<Line[]> {
  let parts: Buffer[] = [];
  let length = 0;
  let first = true;
  let group: Line[] = [];
  const end = () => {
    const line = lineOf(parts, length, first);
    [parts, length, first] = [[], 0, false];
    group.push(line);
  };
  const add = (part: Buffer) => {
    length += part.length;
    // A character has up to four bytes.
    if (length <= 4 * limits.textCharacters) parts.push(part);
    else parts = [];
  };
  for await (const chunk of input as AsyncIterable<Buffer>) {
    for (let from = 0; from < chunk.length; ) {
      const at = chunk.indexOf(NEWLINE, from);
      add(chunk.subarray(from, at < 0 ? chunk.length : at));
      from = at < 0 ? chunk.length : at + 1;
      if (at >= 0) end();
      if (group.length === GROUP) {
        yield group;
        group = [];
      }
    }
    if (group.length > 0) yield group;
    group = [];
  }
  if (length > 0) end();
  if (group.length > 0) yield group;
}

function lineOf(parts: readonly Buffer[], length: number, first: boolean): Line {
  if (length > 4 * limits.textCharacters) return { error: 'The line is too long' };
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: !first }).decode(Buffer.concat(parts));
  } catch {
    return { error: 'The line is not UTF-8' };
  }
  return { text: text.replace(/\r$/, '') };
}
