import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type LockedModel, readLock } from '../../../src/models/lock.ts';
import { HubRequests } from '../../../src/models/pull/hub-requests.ts';
import type { ModelSource } from '../../../src/models/pull/source.ts';
import { Staging } from '../../../src/models/pull/staging.ts';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'pgembedder-untrusted-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
  vi.unstubAllGlobals();
});

const locked = (files: LockedModel['files']): LockedModel => ({
  revision: 'main',
  commit: 'c',
  variants: ['fp32'],
  pulled_at: '2026-01-01T00:00:00Z',
  files,
});
const lock = (models: Record<string, LockedModel>) =>
  writeFileSync(join(folder, 'models.lock.json'), JSON.stringify({ lockfileVersion: 1, models }));

it.each(['../../x', '/etc', 'a/../b', 'a/b/c', '.hidden', '', 'a\\..\\b'])(
  'a lock file with a model of the name %j is refused',
  (name) => {
    lock({ [name]: locked({}) });
    expect(() => readLock(folder)).toThrow(/cannot be read: a model of it has no name of a model/);
  },
);

it.each(['../../x', '/etc/passwd', 'onnx/../../x', '..\\x', 'onnx//x'])(
  'a lock file with a file %j is refused',
  (path) => {
    lock({ 'org/model': locked({ [path]: { bytes: 1, sha256: '0'.repeat(64) } }) });
    expect(() => readLock(folder)).toThrow(/cannot be read: a file leads out of its folder/);
  },
);

it('a lock file as it is written is read', () => {
  lock({ 'org/model': locked({ 'onnx/model.onnx': { bytes: 1, sha256: '0'.repeat(64) } }) });
  expect(Object.keys(readLock(folder))).toEqual(['org/model']);
});

it('a hub is not followed from https to http', async () => {
  const asked: string[] = [];
  vi.stubGlobal('fetch', async (url: URL) => {
    asked.push(url.href);
    return new Response(null, { status: 302, headers: { location: 'http://elsewhere.example/file' } });
  });
  await expect(
    new HubRequests({ endpoint: 'https://hub.example' }).send('GET', 'file', {
      model: 'm',
      revision: 'main',
    }),
  ).rejects.toThrow('redirects in a way that leads nowhere');
  expect(asked).toEqual(['https://hub.example/file']);
});

it('a file without end, of which nobody says how long it is, is given up', async () => {
  let given = 0;
  const source = {
    read: async () => ({
      from: 0,
      content: (async function* () {
        for (;;) {
          given += 1;
          yield new Uint8Array(2 ** 20);
        }
      })(),
    }),
  } as unknown as ModelSource;
  const file = { path: 'config.json', bytes: null, sha256: null, gitSha1: null, etag: null };
  await expect(new Staging(folder, 'm').fetch(source, 'm', null, file, () => {})).rejects.toThrow(
    'config.json does not end, and the hub does not say how long it is',
  );
  expect(given).toBe(65);
});
