import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { stat } from 'node:fs/promises';
import type { SourceFile } from './source.ts';

/** Size and sums of a file. */
export interface Digest {
  readonly bytes: number;
  /** In lower-case hex, like the next one. */
  readonly sha256: string;
  /** What `git hash-object` prints: the SHA-1 of `blob SIZE`, a zero byte and the content. */
  readonly gitSha1: string;
}

/** Reads a whole file. @throws what the file system throws */
export async function digestOf(path: string): Promise<Digest> {
  const { size } = await stat(path);
  const sha256 = createHash('sha256');
  const sha1 = createHash('sha1').update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path)) {
    sha256.update(chunk);
    sha1.update(chunk);
  }
  return { bytes: size, sha256: sha256.digest('hex'), gitSha1: sha1.digest('hex') };
}

/** How a file differs from what its source says: `its SHA-256 is ... where ... is expected`; null when it does not. */
export function differenceFrom(
  file: Pick<SourceFile, 'bytes' | 'sha256' | 'gitSha1'>,
  found: Digest,
): string | null {
  if (file.bytes !== null && file.bytes !== found.bytes)
    return `it has ${found.bytes} bytes where ${file.bytes} are expected`;
  if (file.sha256 !== null && file.sha256 !== found.sha256)
    return `its SHA-256 is ${found.sha256} where ${file.sha256} is expected`;
  if (file.gitSha1 !== null && file.gitSha1 !== found.gitSha1)
    return `its git SHA-1 is ${found.gitSha1} where ${file.gitSha1} is expected`;
  return null;
}
