/**
 * A thread of the embedded Postgres' process that ends it when its parent has gone and it does not end by itself: a long
 * statement keeps the main thread from hearing of it. A kill loses nothing that was committed.
 */
import { workerData } from 'node:worker_threads';

const CHECK_MS = 1_000;
/** How long the process has to end by itself. */
const GRACE_MS = 10_000;

const { parent } = workerData as { parent: number };
const timer = setInterval(() => {
  if (process.ppid === parent) return;
  clearInterval(timer);
  setTimeout(() => process.kill(process.pid, 'SIGKILL'), GRACE_MS);
}, CHECK_MS);
