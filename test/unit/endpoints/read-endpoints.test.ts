import { mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { readEndpoints } from '../../../src/endpoints/read-endpoints.ts';

const folder = mkdtempSync(join(tmpdir(), 'pgembedder-endpoints-'));
const good = {
  name: 'cloud',
  url: 'https://models.example/v1',
  api: 'openai',
  models: [{ name: 'words', dimensions: 8, max_tokens: 512 }],
};

function fileWith(content: unknown): string {
  const path = join(folder, 'endpoints.json');
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

function read(endpoint: object, environment: NodeJS.ProcessEnv = {}) {
  return readEndpoints(fileWith({ endpoints: [{ ...good, ...endpoint }] }), environment);
}

it('without a file there are no endpoints', () => {
  expect(readEndpoints(undefined)).toEqual([]);
});

it('what is not said has a default', () => {
  const [{ authorization, ...endpoint }] = read({}) as [ReturnType<typeof read>[number]];
  expect(authorization()).toEqual({});
  expect(endpoint).toEqual({
    ...good,
    encoding: 'base64',
    limits: { inputs_per_request: 32, concurrent_requests: 4, timeout_seconds: 60 },
    models: [{ ...good.models[0], prompts: { query: '', passage: '' }, tokenizer: undefined }],
  });
});

it('a key comes from the environment or a file, which is read again each time', () => {
  expect(read({ key: { env: 'KEY' } }, { KEY: 'abc' })[0]!.authorization()).toEqual({
    authorization: 'Bearer abc',
  });
  writeFileSync(join(folder, 'key'), 'first\n');
  const [endpoint] = read({ key: { file: 'key', header: 'api-key' } });
  expect(endpoint!.authorization()).toEqual({ 'api-key': 'first' });
  writeFileSync(join(folder, 'key'), 'second\n');
  expect(endpoint!.authorization()).toEqual({ 'api-key': 'second' });
});

it('a tokenizer is seen from the folder of the file', () => {
  const [endpoint] = read({ models: [{ ...good.models[0], tokenizer: 'bge' }] });
  expect(endpoint!.models[0]!.tokenizer).toBe(join(folder, 'bge'));
});

it.each([
  ['a key in the file', { key: 'sk-secret' }, /0\.key: is {"env": "NAME"} or {"file": "PATH"}/],
  ['a key in the address', { url: 'https://me:sk-secret@models.example' }, /url: holds a user name/],
  ['an address of another kind', { url: 'ftp://models.example' }, /url: is an address that begins with http/],
  ['an unknown api', { api: 'cohere' }, /api: Invalid option/],
  ['an unknown field', { limit: {} }, /Unrecognized key: "limit"/],
  ['a name with a colon', { name: 'a:b' }, /name: is letters/],
  ['no models', { models: [] }, /models: Too small/],
  ['a model twice', { models: [good.models[0], good.models[0]] }, /models: has a name twice/],
  ['a model that is called like a variant', { models: [{ ...good.models[0], name: 'q8' }] }, /variant/],
  ['no dimensions', { models: [{ name: 'words', max_tokens: 8 }] }, /models\.0\.dimensions/],
  [
    'a variable that is not set',
    { key: { env: 'KEY' } },
    /'cloud' is missing: the variable KEY is empty or not/,
  ],
  ['a file that is not there', { key: { file: 'none' } }, /'cloud' cannot be read: ENOENT/],
])('%s is refused, in one line', (_, endpoint, message) => {
  let line = '';
  try {
    read(endpoint);
  } catch (error) {
    line = (error as Error).message;
  }
  expect(line).toMatch(message);
  expect(line).not.toMatch(/sk-secret|\n/);
});

it('a misspelt field is told with the one that was meant', () => {
  expect(() => read({ limits: { request_per_minute: 3 } })).toThrow(
    expect.objectContaining({ hint: expect.stringMatching(/^Did you mean "requests_per_minute"\? docs/) }),
  );
});

it('a file that is not there, or no JSON, is refused without what it holds', () => {
  expect(() => readEndpoints(join(folder, 'none.json'))).toThrow(
    /PGEMBEDDER_ENDPOINTS: the file cannot be read/,
  );
  expect(() => readEndpoints(fileWith('{"key": sk-secret'))).toThrow(/endpoints\.json is not JSON$/);
});
