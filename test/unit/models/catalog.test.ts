import { createHash } from 'node:crypto';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bundledModelsDirectory, catalog, catalogEntryOf } from '../../../src/models/catalog.ts';
import { extraModels } from '../inference/golden.ts';

describe('the catalog', () => {
  it('knows the default model and the hub models', () => {
    expect(catalog().map((entry) => entry.name)).toEqual([
      'all-MiniLM-L6-v2',
      'Xenova/all-MiniLM-L6-v2',
      'Xenova/bge-small-en-v1.5',
    ]);
  });

  it('finds a model by its catalog name and as ORG/NAME', () => {
    expect(catalogEntryOf('all-MiniLM-L6-v2')).toBe(catalogEntryOf('pgembedder/all-MiniLM-L6-v2'));
    expect(catalogEntryOf('nobody/nothing')).toBeUndefined();
  });

  it.each(catalog())(
    'has the sizes and checksums of the files of $name',
    ({ directory, files, variants, bundled }) => {
      const folder = [bundledModelsDirectory, extraModels]
        .map((parent) => join(parent, directory))
        .find(existsSync);
      expect(folder !== undefined || !bundled).toBe(true);
      for (const file of folder ? [...files, variants.q8] : []) {
        const bytes = readFileSync(join(folder!, file.path));
        if (file.sha256 !== undefined) {
          expect(bytes.length, file.path).toBe(file.bytes);
          expect(createHash('sha256').update(bytes).digest('hex'), file.path).toBe(file.sha256);
        }
      }
    },
  );

  it('pins every file of a bundled model', () => {
    for (const entry of catalog().filter((each) => each.bundled)) {
      expect(entry.files.every((file) => file.sha256)).toBe(true);
      expect(existsSync(join(bundledModelsDirectory, entry.directory, 'LICENSE'))).toBe(true);
    }
  });
});
