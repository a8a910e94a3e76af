#!/usr/bin/env node
import { CommanderError } from 'commander';
import { endWithNpx } from './end-with-npx.ts';
import { type ErrorReport, reportError } from './errors.ts';
import { hidePasswords } from './hide-passwords.ts';
import { errorColours, printJson } from './output.ts';
import { createProgram } from './program.ts';
import { usageError } from './usage-error.ts';

// `pgembedder status | head -1`: the reader has enough, which is not an error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}

hidePasswords(process.argv.slice(2));
endWithNpx();
const program = createProgram();
try {
  await program.parseAsync();
} catch (error) {
  if (!(error instanceof CommanderError)) fail(reportError(error));
  // Help and version come as errors with code 0; help that nobody asked for (no command given) with 1.
  else if (error.exitCode === 0) process.exitCode = 0;
  else if (error.code === 'commander.help') process.exitCode = 2;
  else fail(usageError(error.message, program, process.argv.slice(2)));
}

/** Reports an error on stderr and, where JSON was asked for, on stdout as well. */
function fail({ text, message, hint, exitCode }: ErrorReport): void {
  process.stderr.write(`${errorColours.red(text)}\n`);
  if (process.argv.includes('--json')) printJson({ error: message, hint: hint ?? null });
  process.exitCode = exitCode;
}
