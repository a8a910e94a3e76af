import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../package-root.ts';

/** The migrations, as `migrations/file.sql`, in the order in which they are run. */
export async function migrationFiles(): Promise<string[]> {
  const files = await readdir(join(packageRoot, 'migrations'));
  return files
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file) => `migrations/${file}`);
}

/** The files of functions, views and rights, as `sql/folder/file.sql`, in the order in which they are run. */
export async function functionFiles(): Promise<string[]> {
  const order = await readSql('sql/order.txt');
  return order
    .split('\n')
    .filter((line) => line !== '' && !line.startsWith('#'))
    .map((file) => `sql/${file}`);
}

/** The text of one of these files. */
export function readSql(name: string): Promise<string> {
  return readFile(join(packageRoot, name), 'utf8');
}

/** A hash, by which a changed file is recognised. */
export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
