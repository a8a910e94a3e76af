import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../src/package-root.ts';

/** The folders of src/ that speak SQL; all others call their functions. */
const ROOMS_OF_SQL = ['database', 'embedded', 'pipelines', 'queue', 'search'];

it('SQL stays in the folders that are there for it', () => {
  const source = join(packageRoot, 'src');
  const files = readdirSync(source, { recursive: true, encoding: 'utf8' }).filter((file) =>
    file.endsWith('.ts'),
  );
  expect(files.length).toBeGreaterThan(100);
  const speakers = files.filter(
    (file) =>
      !ROOMS_OF_SQL.includes(file.split('/')[0]!) &&
      /from 'kysely'|\.query\(|sql`/.test(readFileSync(join(source, file), 'utf8')),
  );
  expect(speakers).toEqual([]);
});
