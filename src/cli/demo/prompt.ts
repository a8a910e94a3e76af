import { createInterface } from 'node:readline';
import { errorColours as colours, say } from '../output.ts';

/** Examples of queries; each finds its word among the glosses that a demo has by default. */
export const EXAMPLES = [
  'a person who studies insects',
  'someone who repairs water pipes',
  'a doctor who treats animals',
  'the hot season of the year',
];

/**
 * Reads queries a line at a time, from a prompt or from a pipe, until their end.
 * @param signal ends the reading from a pipe; at a prompt Ctrl-C comes as a key
 */
export async function readQueries(
  answer: (query: string) => Promise<void>,
  signal: AbortSignal,
): Promise<void> {
  const terminal = process.stdin.isTTY === true && process.stderr.isTTY === true;
  if (terminal) {
    say(
      `\nDescribe a word in your own words. Ctrl-D ends. For example:\n${colours.dim(EXAMPLES.map((text) => `  ${text}`).join('\n'))}\n`,
    );
  } else {
    say('stdin is no terminal, so there is no prompt: reading queries from it, one a line.');
  }
  // The prompt goes to stderr, so that stdout holds answers only.
  const lines = createInterface({
    input: process.stdin,
    output: terminal ? process.stderr : undefined,
    terminal,
    prompt: colours.green('? '),
    signal,
  });
  if (terminal) lines.prompt();
  for await (const line of lines) {
    if (line.trim() !== '') await answer(line.trim());
    if (terminal) lines.prompt();
  }
  if (terminal) say('');
}
