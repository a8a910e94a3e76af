import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { packageRoot } from '../../package-root.ts';

/** The .sql files of a folder of the package, as `folder/file.sql`, in the order in which they are run. */
export async function sqlFiles(folder: 'migrations' | 'sql'): Promise<string[]> {
  const files = await readdir(join(packageRoot, folder));
  return files
    .filter((file) => file.endsWith('.sql'))
    .sort()
    .map((file) => `${folder}/${file}`);
}

/** The text of one of these files. */
export function readSql(name: string): Promise<string> {
  return readFile(join(packageRoot, name), 'utf8');
}

/** By what a file is known to have changed. */
export function hashOf(text: string): string {
  return createHash('sha256').update(text).digest('hex');
}
