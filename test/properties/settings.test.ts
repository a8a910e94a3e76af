import fc from 'fast-check';
import { expect, it } from 'vitest';
import { parseChunking } from '../../src/chunking/parse-chunking.ts';
import { describeSettings, readConfig } from '../../src/config.ts';
import { readConnectionUrl } from '../../src/database/connection-url.ts';
import { UserError } from '../../src/errors.ts';
import { isStorable } from '../../src/text-length.ts';
import { holds, storableText } from './property.ts';

const names = describeSettings().map(({ name }) => name);

/** Whether a call gives something or says in one line what is wrong. */
function givesOrRefuses(call: () => unknown): void {
  try {
    call();
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    expect(error.message).not.toMatch(/[\r\n]/);
  }
}

it('any environment is read, or refused in one line', async () => {
  const value = fc.oneof(
    storableText,
    fc.constantFrom('true', '-1', '0', '1e9', 'NaN', '1.5', 'off', '[::1]:80'),
  );
  await holds(
    [fc.dictionary(fc.constantFrom(...names), value, { maxKeys: 8 })],
    (environment) => {
      givesOrRefuses(() => readConfig(environment));
    },
    500,
  );
});

it('any chunking is read, or refused in one line', async () => {
  const chunking = fc.record(
    {
      strategy: fc.oneof(fc.constantFrom('tokens', 'recursive', 'markdown'), fc.jsonValue()),
      size: fc.oneof(fc.integer({ min: -1, max: 10_000 }), fc.jsonValue()),
      overlap: fc.oneof(fc.integer({ min: -1, max: 5_000 }), fc.jsonValue()),
      separators: fc.oneof(fc.array(storableText), fc.jsonValue()),
    },
    { requiredKeys: [] },
  );
  await holds(
    [fc.oneof(chunking, fc.jsonValue())],
    (given) => givesOrRefuses(() => parseChunking(given)),
    500,
  );
});

it('user, password and database of a URL are what was put into it, whatever they are', async () => {
  const part = storableText.filter((text) => text !== '' && isStorable(text));
  await holds([part, part, part], (user, password, database) => {
    const url = `postgres://${encodeURIComponent(user)}:${encodeURIComponent(password)}@db.example:6543/${encodeURIComponent(database)}`;
    expect(readConnectionUrl(url)).toMatchObject({
      user,
      password,
      database,
      host: 'db.example',
      port: 6543,
    });
  });
});

it('any text for a URL is read, or refused in one line that does not repeat it', async () => {
  const url = fc.oneof(
    storableText,
    storableText.map((rest) => `postgres://${rest}`),
    storableText.map((rest) => `postgresql://me:hunter2secret@host/${rest}?sslmode=${rest}`),
  );
  await holds(
    [url],
    (given) => {
      try {
        readConnectionUrl(given);
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
        expect(`${error.message} ${error.hint}`).not.toMatch(/hunter2secret/);
      }
    },
    300,
  );
});
