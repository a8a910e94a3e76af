import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { functionFiles } from '../../../src/database/migrate/sql-files.ts';
import { packageRoot } from '../../../src/package-root.ts';

it('sql/order.txt lists each file of sql/ once', async () => {
  const there = (await readdir(join(packageRoot, 'sql'), { recursive: true }))
    .filter((file) => file.endsWith('.sql'))
    .map((file) => `sql/${file}`);
  expect([...(await functionFiles())].sort()).toEqual(there.sort());
});
