import { describe, expect, it } from 'vitest';
import { asFlags } from '../../../src/cli/declaration-errors.ts';
import { createProgram } from '../../../src/cli/program.ts';
import { usageError } from '../../../src/cli/usage-error.ts';

const line = (message: string, ...words: string[]) => usageError(message, createProgram(), words).text;

describe('a wrong call', () => {
  it('is told what was meant, in one line with its own punctuation', () => {
    expect(line("error: unknown command 'serch'\n(Did you mean search?)", 'serch')).toBe(
      "pgembedder: unknown command 'serch'. Did you mean search? See pgembedder --help",
    );
  });

  it('is shown the help of the command that was called', () => {
    expect(line("error: missing required argument 'query'", 'search', 'articles')).toContain(
      'See pgembedder search --help',
    );
    expect(line("error: unknown option '--foo'", 'pipeline', 'create', '--foo')).toContain(
      'See pgembedder pipeline create --help',
    );
  });
});

describe('a hint of create_pipeline', () => {
  it('names flags instead of named arguments', () => {
    expect(asFlags(`Give another name => ..., or if_not_exists => true.`)).toBe(
      'Give another --name ..., or --if-not-exists.',
    );
    expect(asFlags(`For example options => '{"labels": ["sport"]}'.`)).toBe(
      `For example --options '{"labels": ["sport"]}'.`,
    );
  });
});
