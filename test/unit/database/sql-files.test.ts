import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { functionFiles, readSql } from '../../../src/database/migrate/sql-files.ts';
import { packageRoot } from '../../../src/package-root.ts';

it('sql/order.txt lists each file of sql/ once', async () => {
  const there = (await readdir(join(packageRoot, 'sql'), { recursive: true }))
    .filter((file) => file.endsWith('.sql'))
    .map((file) => `sql/${file}`);
  expect([...(await functionFiles())].sort()).toEqual(there.sort());
});

it('only sql/queue/ writes embedder.job', async () => {
  const writes =
    /\b(?:insert into|update|delete from)\s+(?:embedder\.job\b|embedder\.pipeline_\S+_job\b)|embedder\.book\(p, 'job'\)/;
  const others = (await functionFiles()).filter((file) => !file.startsWith('sql/queue/'));
  const texts = await Promise.all(others.map(readSql));
  expect(others.filter((_, i) => writes.test(texts[i]!))).toEqual([]);
});
