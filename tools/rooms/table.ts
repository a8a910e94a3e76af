/** A row of the table in docs/architecture.md. */
export interface Room {
  /** A folder or a file of src/, without its ending; `utilities` for the files of src/ that have no row. */
  readonly name: string;
  /** The processes that load it. */
  readonly processes: readonly string[];
  /** Rooms that it may import, beside itself and the utilities. */
  readonly mayImport: readonly string[];
  /** Packages that it may import. */
  readonly packages: readonly string[];
}

/** The room of all files that may be imported from everywhere. */
export const utilities = 'utilities';

/** The files that processes are started with. */
export const entries: Readonly<Record<string, readonly string[]>> = {
  main: ['cli/main.ts', 'index.ts'],
  engine: ['inference/process/engine-process.ts'],
  probe: ['inference/devices/probe-process.ts'],
  embedded: ['embedded/server-process.ts', 'embedded/watchdog.ts'],
};

/** Reads the table of rooms out of a page: the rows below the head `| room |`. */
export function readRooms(page: string): Room[] {
  const table = /^\| room \|.*\n\| --- .*\n(?<rows>(?:\|.*\n)+)/m.exec(page)?.groups?.rows;
  if (table === undefined) throw new Error('docs/architecture.md has no table of rooms');
  return table
    .trimEnd()
    .split('\n')
    .map((row) => {
      const [name, , processes, mayImport, packages] = row.split('|').slice(1, -1);
      return {
        name: namesIn(name)[0]!,
        processes: namesIn(processes),
        mayImport: namesIn(mayImport),
        packages: namesIn(packages),
      };
    });
}

function namesIn(cell = ''): string[] {
  return [...cell.matchAll(/`([^`]+)`/g)].map(([, name]) => name!);
}

/** The room of a file: the innermost one that holds it. */
export function roomOf(file: string, rooms: readonly Room[]): string {
  const path = file.replace(/\.ts$/, '');
  const holding = rooms
    .map(({ name }) => name)
    .filter((name) => path === name || path.startsWith(`${name}/`));
  return holding.sort((a, b) => b.length - a.length)[0] ?? utilities;
}
