import { type Import, loadedBy } from './imports.ts';
import { entries, type Room, roomOf, utilities } from './table.ts';

/** What the sources do against the table of rooms, a line for each: where, what, and the rule. */
export function faultsOf(imports: readonly Import[], rooms: readonly Room[]): string[] {
  return [...wrongImports(imports, rooms), ...wrongProcesses(imports, rooms), ...circles(rooms)];
}

function wrongImports(imports: readonly Import[], rooms: readonly Room[]): string[] {
  return imports.flatMap(({ file, line, target, isPackage }) => {
    const name = roomOf(file, rooms);
    const room = rooms.find((each) => each.name === name);
    if (!room) return [`src/${file}: no row of the table is for it`];
    const wanted = isPackage ? target : roomOf(target, rooms);
    const allowed = isPackage ? room.packages : [name, utilities, ...room.mayImport];
    if (allowed.includes(wanted)) return [];
    const what = isPackage ? `the package ${target}` : `src/${target}`;
    const rule = `${name} may import ${listed(isPackage ? room.packages : room.mayImport)}`;
    return [`src/${file}:${line} imports ${what}, but ${rule}${isPackage ? ' of the packages' : ''}`];
  });
}

/** The column of processes says what code runs where, so it is compared with what each process loads. */
function wrongProcesses(imports: readonly Import[], rooms: readonly Room[]): string[] {
  const loading = new Map<string, string[]>(rooms.map(({ name }) => [name, []]));
  for (const [process, files] of Object.entries(entries)) {
    const loaded = new Set([...loadedBy(files, imports)].map((file) => roomOf(file, rooms)));
    for (const room of loaded) loading.get(room)?.push(process);
  }
  return rooms
    .filter(({ name, processes }) => processes.join() !== loading.get(name)!.join())
    .map(
      ({ name, processes }) =>
        `${name}: the table says that it runs in ${listed(processes)}, and it is loaded by ${listed(loading.get(name)!)}`,
    );
}

/** Rooms that may import each other, directly or by way of others. */
function circles(rooms: readonly Room[]): string[] {
  const reached = (from: string, seen = new Set<string>()): Set<string> => {
    for (const next of rooms.find(({ name }) => name === from)?.mayImport ?? []) {
      if (seen.has(next)) continue;
      seen.add(next);
      reached(next, seen);
    }
    return seen;
  };
  return rooms
    .filter(({ name }) => reached(name).has(name))
    .map(({ name }) => `${name}: by the table it may import itself by way of others`);
}

function listed(names: readonly string[]): string {
  return names.length === 0 ? 'nothing' : names.join(', ');
}
