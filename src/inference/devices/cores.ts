import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';

/**
 * Physical cores this process may use: the least of what the machine has and what a container's CPU quota allows.
 * Two threads on one core share its arithmetic units, so matrix products gain nothing from the second.
 * Where the machine does not say (not Linux), every logical core counts.
 */
export function physicalCores(): number {
  const logical = availableParallelism();
  const physical =
    readOr('/sys/devices/system/cpu/smt/active', '0') === '1' ? Math.ceil(logical / 2) : logical;
  return Math.max(1, Math.min(physical, Math.ceil(cgroupCores())));
}

/** Cores by cgroup v2's `cpu.max` ("quota period" in microseconds, or "max period"); infinity without a limit. */
function cgroupCores(): number {
  const [quota, period] = readOr('/sys/fs/cgroup/cpu.max', 'max 100000').split(' ');
  return quota === 'max'
    ? Number.POSITIVE_INFINITY
    : Number(quota) / Number(period) || Number.POSITIVE_INFINITY;
}

function readOr(path: string, otherwise: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return otherwise;
  }
}

/** Most processes of a session by default: each has the model in memory. */
const MOST_ENGINES = 4;

/**
 * How many processes run a session and with how many threads each. By default there is a process for each core, up to
 * 4, and they divide the cores among them: batches are small, and two of them side by side are done sooner than one
 * after the other on twice the threads (MiniLM int8 on 2 cores, glosses: 1,040 rows/s against 800). A GPU has one.
 */
export function engineThreads(
  given: { engines?: number | undefined; threads?: number | undefined },
  onCpu: boolean,
): { engines: number; threads: number } {
  const cores = physicalCores();
  const most = onCpu ? MOST_ENGINES : 1;
  const engines = given.engines ?? Math.max(1, Math.min(most, Math.floor(cores / (given.threads ?? 1))));
  return { engines, threads: given.threads ?? Math.max(1, Math.floor(cores / engines)) };
}
