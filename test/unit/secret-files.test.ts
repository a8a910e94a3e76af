import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { readConfig } from '../../src/config.ts';
import { SECRETS, withSecretFiles } from '../../src/secret-files.ts';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'pgembedder-secrets-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

/** A file that holds this text. */
function file(text: string): string {
  const path = join(folder, 'secret');
  writeFileSync(path, text);
  return path;
}

describe('a secret from a file', () => {
  it.each(SECRETS)('%s', (name) => {
    expect(withSecretFiles({ [`${name}_FILE`]: file('s3cret') })[name]).toBe('s3cret');
  });

  it.each([
    ['one newline', 's3cret\n'],
    ['several', 's3cret\n\n'],
    ['of Windows', 's3cret\r\n'],
  ])('is read less its newlines: %s', (_, text) => {
    expect(withSecretFiles({ DATABASE_URL_FILE: file(text) }).DATABASE_URL).toBe('s3cret');
  });

  it('keeps its spaces and the newlines within', () => {
    expect(withSecretFiles({ PGEMBEDDER_HTTP_TOKEN_FILE: file(' a\nb ') }).PGEMBEDDER_HTTP_TOKEN).toBe(
      ' a\nb ',
    );
  });

  it('leaves the rest of the environment, and the environment itself, as they are', () => {
    const environment = { HOME: '/root', DATABASE_URL_FILE: file('x') };
    expect(withSecretFiles(environment)).toEqual({ ...environment, DATABASE_URL: 'x' });
    expect(environment).not.toHaveProperty('DATABASE_URL');
  });

  it('is not looked for where the variable is empty', () => {
    expect(withSecretFiles({ DATABASE_URL_FILE: '', DATABASE_URL: 'x' }).DATABASE_URL).toBe('x');
  });

  it('reaches the settings, beside a variable that is set and empty', () => {
    const url = 'postgres://u@h/d';
    expect(readConfig({ DATABASE_URL: '', DATABASE_URL_FILE: file(`${url}\n`) }).DATABASE_URL).toBe(url);
  });
});

describe('is refused', () => {
  it('when it is given both ways', () => {
    expect(() => withSecretFiles({ DATABASE_URL: 'x', DATABASE_URL_FILE: file('y') })).toThrow(
      'DATABASE_URL and DATABASE_URL_FILE are both set',
    );
  });

  it('when its file is not there', () => {
    expect(() => withSecretFiles({ DATABASE_URL_FILE: '/nowhere/url' })).toThrow(
      /^DATABASE_URL_FILE: the file cannot be read: ENOENT.*'\/nowhere\/url'$/,
    );
  });

  it.each(['', '\n'])('when its file is empty: %j', (text) => {
    const path = file(text);
    expect(() => withSecretFiles({ DATABASE_URL_FILE: path })).toThrow(
      `DATABASE_URL_FILE: the file ${path} is empty`,
    );
  });
});
