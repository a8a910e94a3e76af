import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { codeOf, messageOf, UserError } from '../errors.ts';

/** Makes a folder and those above it, as far as they are missing. Node's own recursive mkdir never ends below /proc. */
export async function makeFolder(folder: string): Promise<void> {
  try {
    await mkdir(folder);
  } catch (error) {
    if (codeOf(error) === 'EEXIST' && (await stat(folder)).isDirectory()) return;
    const above = dirname(folder);
    if (codeOf(error) !== 'ENOENT' || above === folder) throw error;
    await makeFolder(above);
    await mkdir(folder);
  }
}

const REASONS: Readonly<Record<string, string>> = {
  EACCES: 'this user may not write there',
  EPERM: 'this user may not write there',
  EEXIST: 'a file lies there',
  ENOTDIR: 'a file lies there',
  ENOENT: 'no folder can be made there',
  ENOSPC: 'the disk is full',
  EROFS: 'it is read-only',
};

/** An error of the file system, as one that says what to do; any other as it is. */
export function explainFolder(error: unknown, folder: string): unknown {
  if (!(error instanceof Error && 'syscall' in error)) return error;
  const reason = REASONS[codeOf(error)] ?? messageOf(error);
  return new UserError(`the embedded Postgres cannot use the folder ${folder}: ${reason}`, {
    hint: 'Name another one: --embedded=DIR',
    cause: error,
  });
}
