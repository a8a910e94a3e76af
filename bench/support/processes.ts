import { readdirSync, readFileSync } from 'node:fs';

/** Memory of a process and of all it has started, in bytes, without what is shared counted twice (Linux's Pss). */
export function memoryOfTree(pid: number): number {
  return [pid, ...descendants(pid)].reduce((sum, each) => sum + proportionalBytes(each), 0);
}

function proportionalBytes(pid: number): number {
  try {
    const kilobytes = /^Pss:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8'))?.[1];
    return Number(kilobytes) * 1_024;
  } catch {
    // It has ended.
    return 0;
  }
}

/** CPU time of a process and of all it has started, those that have ended included, in ms (in steps of ten). */
export function cpuOfTree(pid: number): number {
  // utime, stime, cutime, cstime: fields 14 to 17 of proc(5), in hundredths of a second.
  const ticks = [pid, ...descendants(pid)].flatMap((each) => stat(each)?.slice(11, 15).map(Number) ?? []);
  return 10 * ticks.reduce((sum, each) => sum + each, 0);
}

export function parentOf(pid: number): number {
  return Number(stat(pid)?.[1]);
}

/** The fields of proc(5) from the third on; undefined when the process has ended. */
function stat(pid: number | string): string[] | undefined {
  try {
    // The name of the program, in brackets, may hold anything.
    return readFileSync(`/proc/${pid}/stat`, 'utf8')
      .replace(/^.*\) /s, '')
      .split(' ');
  } catch {
    return undefined;
  }
}

function descendants(pid: number): number[] {
  const parents = readdirSync('/proc').flatMap((name) => {
    const fields = /^\d+$/.test(name) ? stat(name) : undefined;
    return fields ? [{ pid: Number(name), parent: Number(fields[1]) }] : [];
  });
  const children = parents.filter(({ parent }) => parent === pid).map((child) => child.pid);
  return children.flatMap((child) => [child, ...descendants(child)]);
}
