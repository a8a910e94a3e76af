import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../errors.ts';
import { PullError } from './pull-error.ts';

/** A holder that has not touched the lock for so long is dead; a live one does each 2 s. */
const STALE_MS = 10_000;
const TOUCH_MS = 2_000;
/** How often one that waits looks. */
const LOOK_MS = 250;

/**
 * Has one process at a time change a models folder, across containers that share it as well. The folder is made when
 * it is missing. A holder that was killed is overtaken after ten seconds.
 * @param onWait called once when another process is at it
 * @param work gets a signal that is aborted should the lock be lost: by a process that was stopped for long
 * @throws PullError when the folder, or a file in it, cannot be written to, and what `work` throws
 */
export async function exclusively<Result>(
  directory: string,
  onWait: () => void,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  // Loaded only here: it comes with graceful-fs, which puts a process.cwd of its own in the place of Node's.
  const { lock } = await import('proper-lockfile').then((module) => module.default);
  const lost = new AbortController();
  const options = {
    lockfilePath: join(directory, '.lock'),
    stale: STALE_MS,
    update: TOUCH_MS,
    onCompromised: (error: Error) =>
      lost.abort(
        new PullError(`Another process has taken over ${directory}: ${error.message}`, {
          hint: 'Pull again: what has arrived is kept',
        }),
      ),
  };
  let release: () => Promise<void>;
  try {
    await mkdir(directory, { recursive: true });
    release = await lock(directory, options).catch((error: unknown) => {
      if (codeOf(error) !== 'ELOCKED') throw error;
      onWait();
      const retries = { forever: true, factor: 1, minTimeout: LOOK_MS, maxTimeout: LOOK_MS };
      return lock(directory, { ...options, retries });
    });
  } catch (error) {
    throw notWritten(directory, error);
  }
  try {
    return await work(lost.signal);
  } catch (error) {
    // A full disk, a file where a folder should be: nothing that a stack trace would help with.
    throw error instanceof Error && 'syscall' in error ? notWritten(directory, error) : error;
  } finally {
    // A lock that was lost is another's by now.
    if (!lost.signal.aborted) await release();
  }
}

function notWritten(directory: string, cause: unknown): PullError {
  return new PullError(`${directory} cannot be written to: ${messageOf(cause)}`, {
    hint: 'Make room, or name another folder by PGEMBEDDER_MODELS_DIR or --dir',
    cause,
  });
}

function codeOf(error: unknown): unknown {
  return error instanceof Error && 'code' in error ? error.code : undefined;
}
