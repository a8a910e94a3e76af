import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/**
 * Gives memory that is not needed any more back to the system. V8 does so by itself only while a program goes on to
 * allocate: after 20,000 rows an idle worker kept 50 MB. It blocks for some tens of ms, so call it when there is
 * nothing to do.
 */
export function collectGarbage(): void {
  // `gc` exists in contexts that are made after this.
  setFlagsFromString('--expose-gc');
  const gc: () => void = runInNewContext('gc');
  gc();
}
