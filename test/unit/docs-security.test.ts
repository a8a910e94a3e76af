import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.ts';

const read = (path: string) => readFileSync(join(packageRoot, path), 'utf8');

const rows = [...read('docs/security.md').matchAll(/`(test\/\S+?\.test\.ts)`: ([^|\n]+?) \|$/gm)];

it('each line names a test', () => {
  expect(rows.length).toBeGreaterThan(35);
});

it.each(rows.map(([, path, title]) => [path!, title!]))('%s has a test of: %s', (path, title) => {
  expect(read(path)).toContain(title);
});
