import type { Command } from 'commander';
import { type ErrorReport, report } from './errors.ts';

/**
 * The report of a wrong call.
 * @param message as Commander has it: `error: unknown command 'serach'`, and its guess in brackets on a second line
 */
export function usageError(message: string, program: Command, words: readonly string[]): ErrorReport {
  const [what = '', ...more] = message.replace(/^error: /, '').split('\n');
  const guess = more
    .join(' ')
    .trim()
    .replace(/^\((.*)\)$/, '$1');
  const hint = [guess, takenByEmbedded(words) ?? `See ${commandOf(program, words)} --help`];
  return report(what.replace(/\.$/, ''), hint.filter(Boolean).join(' '), 2);
}

/** `--embedded` takes the next word as its directory: `search --embedded articles query` then lacks an argument. */
function takenByEmbedded(words: readonly string[]): string | undefined {
  const after = words[words.indexOf('--embedded') + 1];
  if (!words.includes('--embedded') || !after || after.startsWith('-')) return undefined;
  return `'${after}' was taken for the directory of --embedded: put --embedded last, or write --embedded=DIR`;
}

/** The command that was called, as it is written: `pgembedder pipeline create`. */
function commandOf(program: Command, words: readonly string[]): string {
  let command = program;
  const names = [program.name()];
  for (const word of words) {
    const next = command.commands.find((each) => each.name() === word);
    if (!next) break;
    command = next;
    names.push(word);
  }
  return names.join(' ');
}
