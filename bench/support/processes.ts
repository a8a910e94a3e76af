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

function descendants(pid: number): number[] {
  const parents = readdirSync('/proc').flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      // The name of the program, in brackets, may hold anything; the parent is the second field after it.
      const after = readFileSync(`/proc/${name}/stat`, 'utf8').replace(/^.*\) /s, '');
      return [{ pid: Number(name), parent: Number(after.split(' ')[1]) }];
    } catch {
      return [];
    }
  });
  const children = parents.filter(({ parent }) => parent === pid).map((child) => child.pid);
  return children.flatMap((child) => [child, ...descendants(child)]);
}
