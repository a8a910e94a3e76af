import { cpSync, mkdtempSync, readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bundledModelsDirectory } from '../../src/models/catalog.ts';
import { packageRoot } from '../../src/package-root.ts';

/**
 * A models folder with pgembedder/tiny-random-multilabel, -nli and -ner (see test/fixtures/models), each complete.
 * It is the caller's own: its files may be changed.
 */
export function tinyModelsFolder(): string {
  const fixtures = join(packageRoot, 'test', 'fixtures', 'models');
  const tokenizer = join(bundledModelsDirectory, 'pgembedder', 'all-MiniLM-L6-v2');
  const folder = mkdtempSync(join(tmpdir(), 'pgembedder-tiny-models-'));
  for (const name of readdirSync(fixtures).filter((each) => each.startsWith('tiny-'))) {
    const directory = join(folder, 'pgembedder', name);
    cpSync(join(fixtures, name), directory, { recursive: true });
    for (const file of ['tokenizer.json', 'tokenizer_config.json']) {
      cpSync(join(tokenizer, file), join(directory, file));
    }
  }
  return folder;
}
