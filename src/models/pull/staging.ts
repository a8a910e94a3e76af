import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { constants, copyFile, mkdir, open, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { type Digest, differenceFrom, digestOf } from './digest.ts';
import { PullError } from './pull-error.ts';
import type { ModelSource, SourceFile } from './source.ts';

/** Below a models folder; names with a leading dot are no models. */
const STAGING = '.pull';

/** The most that is read of a file of unknown size: as a rule the size of weights is known. */
const UNKNOWN_SIZE_LIMIT = 64 * 2 ** 20;

/**
 * The place in which one model is put together before it is moved to its own. What lies there survives an
 * interruption, even kill -9, and the next pull goes on with it:
 *
 * - `<mark>-<path>.part` is the beginning of a file, `<mark>-<path>` all of it, with its sums checked. The mark is of
 *   the content that is expected, so that no part is ever continued with another version of the file.
 * - `new` is the model's next folder while it is filled, `old` its previous one for the moment between two renames.
 */
export class Staging {
  readonly #folder: string;
  /** Where the model is to lie. */
  readonly target: string;

  constructor(modelsFolder: string, name: string) {
    this.#folder = join(modelsFolder, STAGING, encodeURIComponent(name));
    this.target = join(modelsFolder, name);
  }

  /** Puts back the model's folder that an interruption has left aside. */
  async recover(): Promise<void> {
    const old = join(this.#folder, 'old');
    if (existsSync(old) && !existsSync(this.target)) await rename(old, this.target);
  }

  /** How many bytes of a file lie here. */
  async has(file: SourceFile): Promise<number> {
    for (const path of [this.#whole(file), `${this.#whole(file)}.part`]) {
      const found = await stat(path).catch(() => null);
      if (found) return found.size;
    }
    return 0;
  }

  /**
   * Fetches a file, going on where a part of it lies here already.
   * @param onBytes called with how much of it is here, each time that there is more
   * @returns its path and its sums, which are those that were expected
   * @throws PullError when the content is not what the source says, and what the source throws
   */
  async fetch(
    source: ModelSource,
    name: string,
    commit: string | null,
    file: SourceFile,
    onBytes: (bytes: number) => void,
  ): Promise<{ path: string; digest: Digest }> {
    const whole = this.#whole(file);
    const part = `${whole}.part`;
    await mkdir(this.#folder, { recursive: true });
    if (existsSync(whole)) {
      // It was checked before, but a power cut may have lost what was in the file system's cache.
      const digest = await digestOf(whole);
      if (markOf(file) !== null && differenceFrom(file, digest) === null) return { path: whole, digest };
      await rm(whole);
    }
    // Without a mark of the content nobody can tell whether a part belongs to it.
    if (file.bytes === null || markOf(file) === null) await rm(part, { force: true });
    let length = await this.has(file);
    if (file.bytes !== null && length > file.bytes) length = 0;
    const resumed = length > 0;
    if (length === 0 || length !== file.bytes) {
      const { from, content } = await source.read(name, commit, file, length);
      length = await append(part, from, content, file, onBytes);
      if (file.bytes !== null && length < file.bytes) throw brokenOff(file);
    }
    const digest = await digestOf(part);
    const difference = differenceFrom(file, digest);
    if (difference !== null) {
      await rm(part, { force: true });
      throw new PullError(`${name}: ${file.path} did not arrive as it should be: ${difference}`, {
        hint: 'Pull it again; if it stays so, the hub or a proxy on the way is broken',
        // The part that lay here may be to blame.
        passing: resumed,
      });
    }
    await rename(part, whole);
    onBytes(digest.bytes);
    return { path: whole, digest };
  }

  /**
   * Moves fetched files into the model's folder one by one, in this order. For a folder that is not there yet, all
   * are put together aside first, so that the model appears as a whole.
   */
  async addToTarget(files: readonly SourceFile[]): Promise<void> {
    if (!existsSync(this.target)) return this.replaceTarget(files, []);
    for (const file of files) await moveTo(this.#whole(file), join(this.target, file.path));
    await this.clear();
  }

  /** Puts fetched files, and copies of some that the model's folder has, in the place of that folder. */
  async replaceTarget(files: readonly SourceFile[], kept: readonly string[]): Promise<void> {
    const fresh = join(this.#folder, 'new');
    const old = join(this.#folder, 'old');
    await rm(fresh, { recursive: true, force: true });
    await mkdir(fresh, { recursive: true });
    for (const path of kept) {
      await mkdir(dirname(join(fresh, path)), { recursive: true });
      await copyFile(join(this.target, path), join(fresh, path), constants.COPYFILE_FICLONE);
    }
    for (const file of files) await moveTo(this.#whole(file), join(fresh, file.path));
    await mkdir(dirname(this.target), { recursive: true });
    await rm(old, { recursive: true, force: true });
    if (existsSync(this.target)) await rename(this.target, old);
    await rename(fresh, this.target);
    await this.clear();
  }

  /** Removes all that lies here. */
  async clear(): Promise<void> {
    await rm(this.#folder, { recursive: true, force: true });
    // Unless the folder of another model lies there.
    await rmdir(dirname(this.#folder)).catch(() => {});
  }

  #whole(file: SourceFile): string {
    return join(this.#folder, `${markOf(file) ?? 'unknown'}-${encodeURIComponent(file.path)}`);
  }
}

/** A mark of the content that a file is expected to have; null when its source says nothing of it. */
function markOf(file: SourceFile): string | null {
  const known = file.sha256 ?? file.gitSha1 ?? file.etag;
  return known === null ? null : createHash('sha256').update(known).digest('hex').slice(0, 16);
}

async function moveTo(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true });
  await rename(from, to);
}

/**
 * Appends content to a part, or begins the part again when the content begins at 0. When a connection breaks, all that was
 * read is in the file.
 * @returns the length of the part
 */
async function append(
  path: string,
  from: number,
  content: AsyncIterable<Uint8Array>,
  file: SourceFile,
  onBytes: (bytes: number) => void,
): Promise<number> {
  const part = await open(path, from > 0 ? 'a' : 'w');
  try {
    let length = from;
    const chunks = content[Symbol.asyncIterator]();
    const read = () =>
      chunks.next().catch((error: unknown) => {
        throw brokenOff(file, error);
      });
    for (let chunk = await read(); !chunk.done; chunk = await read()) {
      if (length + chunk.value.length > (file.bytes ?? UNKNOWN_SIZE_LIMIT)) {
        await chunks.return?.();
        throw tooLong(file);
      }
      await part.writeFile(chunk.value);
      length += chunk.value.length;
      onBytes(length);
    }
    await part.sync();
    return length;
  } finally {
    await part.close();
  }
}

function brokenOff(file: SourceFile, cause?: unknown): PullError {
  return new PullError(`The connection broke off within ${file.path}`, {
    hint: 'Try again: what has arrived is kept',
    passing: true,
    cause,
  });
}

function tooLong(file: SourceFile): PullError {
  return file.bytes === null
    ? new PullError(`${file.path} does not end, and the hub does not say how long it is`, {
        hint: 'Download it yourself, and pull the model from that folder',
      })
    : new PullError(`${file.path} is longer than the ${file.bytes} bytes that the hub says`, {
        hint: 'The hub or a proxy on the way is broken',
      });
}
