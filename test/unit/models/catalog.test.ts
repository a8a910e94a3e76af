import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bundledModelsDirectory, catalog, catalogEntryOf } from '../../../src/models/catalog.ts';
import { extraModels } from '../inference/golden.ts';

describe('the catalog', () => {
  it('knows the default model and the hub models', () => {
    const names = catalog().map((entry) => entry.name);
    expect(names[0]).toBe('all-MiniLM-L6-v2');
    expect(names).toEqual(expect.arrayContaining(['Xenova/all-MiniLM-L6-v2', 'Xenova/bge-small-en-v1.5']));
    expect(new Set(names).size).toBe(names.length);
    expect(new Set(catalog().map((entry) => entry.task)).size).toBe(5);
  });

  it('finds a model by its catalog name and as ORG/NAME', () => {
    expect(catalogEntryOf('all-MiniLM-L6-v2')).toBe(catalogEntryOf('pgembedder/all-MiniLM-L6-v2'));
    expect(catalogEntryOf('nobody/nothing')).toBeUndefined();
  });

  it.each(catalog())('has the sizes and checksums of the files of $name', ({ directory, files, bundled }) => {
    const folder = [bundledModelsDirectory, extraModels]
      .map((parent) => join(parent, directory))
      .find(existsSync);
    expect(folder !== undefined || !bundled).toBe(true);
    for (const file of folder ? files : []) {
      const bytes = readFileSync(join(folder!, file.path));
      expect(bytes.length, file.path).toBe(file.bytes);
      expect(createHash('sha256').update(bytes).digest('hex'), file.path).toBe(file.sha256);
    }
  });

  it('pins every file of a bundled model', () => {
    for (const entry of catalog().filter((each) => each.bundled)) {
      const folder = join(bundledModelsDirectory, entry.directory);
      const there = readdirSync(folder, { recursive: true, withFileTypes: true })
        .filter((file) => file.isFile() && !['LICENSE', 'README.md'].includes(file.name))
        .map((file) => relative(folder, join(file.parentPath, file.name)));
      expect(entry.files.map((file) => file.path).sort()).toEqual(there.sort());
      expect(existsSync(join(bundledModelsDirectory, entry.directory, 'LICENSE'))).toBe(true);
    }
  });
});
