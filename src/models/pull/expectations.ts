import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { catalogEntryOf } from '../catalog.ts';
import type { LockedFile, LockedModel } from '../lock.ts';
import { differenceFrom, digestOf } from './digest.ts';
import { PullError } from './pull-error.ts';
import type { SourceFile } from './source.ts';

type Sums = Readonly<Record<string, LockedFile>>;

/** Whether a model's files are those of the lock file. Reads them all. */
export async function isComplete(target: string, locked: LockedModel): Promise<boolean> {
  for (const [path, sums] of Object.entries(locked.files)) {
    if (!(await isRight(join(target, path), { ...sums, gitSha1: null }))) return false;
  }
  return true;
}

/** The files that a model's folder does not have, or has with other content. */
export async function missingFrom(target: string, files: readonly SourceFile[]): Promise<SourceFile[]> {
  const missing: SourceFile[] = [];
  for (const file of files) {
    const unknown = file.sha256 === null && file.gitSha1 === null;
    if (unknown || !(await isRight(join(target, file.path), file))) missing.push(file);
  }
  return missing;
}

async function isRight(
  path: string,
  file: Pick<SourceFile, 'bytes' | 'sha256' | 'gitSha1'>,
): Promise<boolean> {
  return existsSync(path) && differenceFrom(file, await digestOf(path)) === null;
}

/** @throws PullError when a model's folder, which no pull has made, has one of these files with other content */
export function requireOwn(target: string, missing: readonly SourceFile[]): void {
  const foreign = missing.find(({ path }) => existsSync(join(target, path)));
  if (!foreign) return;
  throw new PullError(`${target} is there already, and its ${foreign.path} is another one`, {
    hint: 'It was not put there by a pull: move it away first, or pull into another folder by --dir',
  });
}

/** What the catalog knows of a model's files. */
export function catalogSums(name: string): Sums {
  return Object.fromEntries(catalogEntryOf(name)?.files.map((file) => [file.path, file]) ?? []);
}

/**
 * A file of a source together with what is known of it already.
 * @param by who knows it
 * @throws PullError when the source says that it has another one
 */
export function expectKnown(
  name: string,
  file: SourceFile,
  known: LockedFile | undefined,
  by: 'lock file' | 'catalog',
): SourceFile {
  if (!known) return file;
  const sumDiffers = file.sha256 !== null && file.sha256 !== known.sha256;
  if (sumDiffers || (file.bytes !== null && file.bytes !== known.bytes)) {
    const difference = sumDiffers
      ? `its SHA-256 is ${file.sha256} where ${known.sha256} is expected`
      : `it has ${file.bytes} bytes where ${known.bytes} are expected`;
    throw new PullError(`${name}: ${file.path} is not the file that the ${by} knows: ${difference}`, {
      hint:
        by === 'lock file'
          ? 'If you want what is there now: pull it with --update'
          : 'If you trust it: pull it with --revision main',
    });
  }
  return { ...file, bytes: known.bytes, sha256: known.sha256 };
}

/** Sizes and sums of files as they lie in a model's folder. */
export async function sumsOf(target: string, files: readonly SourceFile[]): Promise<Sums> {
  const sums: Record<string, LockedFile> = {};
  for (const { path } of files) {
    const { bytes, sha256 } = await digestOf(join(target, path));
    sums[path] = { bytes, sha256 };
  }
  return sums;
}
