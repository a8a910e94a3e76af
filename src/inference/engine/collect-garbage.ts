import { Session } from 'node:inspector/promises';
import { setTimeout as delay } from 'node:timers/promises';

/** Collections, and the time between them in ms. */
const ROUNDS = 3;
const PAUSE_MS = 2_000;

/**
 * Gives memory that is no longer needed back to the system. V8 does that by itself only while a program goes on allocating:
 * a worker that had started and done nothing yet kept 170 MB of which it needed 85. It takes several rounds with some time
 * between them: V8 shrinks the space for new objects only when little was allocated lately, and gives its pages back
 * afterwards. Each round blocks for some tens of ms, so call it when there is nothing to do.
 *
 * By the inspector's protocol, in this process and without a port: V8's own flag for it must not be set in a running process.
 */
export async function collectGarbage(): Promise<void> {
  const session = new Session();
  session.connect();
  for (let round = 0; round < ROUNDS; round++) {
    await session.post('HeapProfiler.collectGarbage');
    await delay(PAUSE_MS, undefined, { ref: false });
  }
  session.disconnect();
}
