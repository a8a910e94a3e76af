#!/usr/bin/env node
import { CommanderError } from 'commander';
import { reportError } from './errors.ts';
import { errorColours } from './output.ts';
import { createProgram, usageErrorLine } from './program.ts';

// `pgembedder status | head -1`: who reads has enough, and that is no error.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(0);
  });
}

try {
  await createProgram().parseAsync();
} catch (error) {
  if (error instanceof CommanderError) {
    // Help and version come as errors with code 0; help that nobody asked for (no command given) with 1.
    if (error.exitCode !== 0 && error.code !== 'commander.help')
      fail(usageErrorLine(error.message, process.argv));
    process.exitCode = error.exitCode === 0 ? 0 : 2;
  } else {
    const { text, exitCode } = reportError(error);
    fail(text);
    process.exitCode = exitCode;
  }
}

function fail(text: string): void {
  process.stderr.write(`${errorColours.red(text)}\n`);
}
