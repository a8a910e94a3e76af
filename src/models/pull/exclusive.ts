import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { messageOf } from '../../errors.ts';
import { PullError } from './pull-error.ts';

/** A holder that has not touched the lock for this long is dead; a live one touches it each 2 s. */
const STALE_MS = 10_000;
const TOUCH_MS = 2_000;
/** How often a waiting process looks. */
const LOOK_MS = 250;

/**
 * Lets one process at a time change a models folder, also across containers that share it. The folder is made when it is
 * missing. The lock of a process that was killed is taken over after ten seconds.
 * @param onWait called once when another process is at it
 * @param work gets a signal that is aborted when the lock is lost, as by a process that was suspended for long
 * @throws PullError when the folder, or a file in it, cannot be written to, and what `work` throws
 */
export async function exclusively<Result>(
  directory: string,
  onWait: () => void,
  work: (signal: AbortSignal) => Promise<Result>,
): Promise<Result> {
  // Loaded only here: it brings graceful-fs, which replaces Node's process.cwd.
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
    // A full disk, a file where a folder should be: a stack trace would not help.
    throw error instanceof Error && 'syscall' in error ? notWritten(directory, error) : error;
  } finally {
    // A lock that was lost belongs to another process by now.
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
