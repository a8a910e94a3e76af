import { setTimeout as delay } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Collections, and the time between them in ms. */
const rounds = 3;
const pauseMs = 2_000;

/**
 * Gives memory that is not needed any more back to the system. V8 does so by itself only while a program goes on to
 * allocate: after 20,000 rows an idle worker kept 30 MB. It takes several rounds with some time between
 * them: V8 shrinks the space for new objects only when little was allocated lately, and gives its pages back afterwards. Each blocks for some tens of ms, so call it when
 * there is nothing to do.
 */
export async function collectGarbage(): Promise<void> {
  // `gc` exists in contexts that are made after this.
  setFlagsFromString('--expose-gc');
  const gc: () => void = runInNewContext('gc');
  for (let round = 0; round < rounds; round++) {
    gc();
    await delay(pauseMs, undefined, { ref: false });
  }
}
