import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Between the two collections; in ms. */
const pauseMs = 500;

/**
 * Gives memory that is not needed any more back to the system. V8 does so by itself only while a program goes on to
 * allocate: after 20,000 rows an idle worker kept 30 MB. The first collection shrinks the space for new objects, the
 * second gives its pages back. Each blocks for some tens of ms, so call it when there is nothing to do.
 */
export function collectGarbage(): void {
  // `gc` exists in contexts that are made after this.
  setFlagsFromString('--expose-gc');
  const gc: () => void = runInNewContext('gc');
  gc();
  setTimeout(gc, pauseMs).unref();
}
