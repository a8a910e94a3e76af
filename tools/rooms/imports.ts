import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, sep } from 'node:path';

/** One import or re-export of a source file. */
export interface Import {
  /** The file that imports, relative to the folder of sources. */
  readonly file: string;
  readonly line: number;
  /** The imported file relative to the folder of sources, or the name of a package. */
  readonly target: string;
  readonly isPackage: boolean;
  /** Whether only types are imported, so that nothing is loaded at run time. */
  readonly typesOnly: boolean;
}

/** All imports of the TypeScript files in a folder; those of Node's own modules are left out. */
export function readImports(folder: string): Import[] {
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((path) => path.split(sep).join('/'))
    .filter((path) => path.endsWith('.ts'))
    .sort()
    .flatMap((file) => importsIn(file, readFileSync(join(folder, file), 'utf8')));
}

/** A statement from its beginning on a line of its own, or a call of `import`. Formatted sources have no others. */
const pattern =
  /^(?:import|export)(?<type> type)? (?:(?<names>[^'";]*?) from )?'(?<from>[^']+)'|\bimport\('(?<called>[^']+)'\)/gm;

function importsIn(file: string, source: string): Import[] {
  return [...source.matchAll(pattern)].flatMap(({ index, groups }) => {
    const name = groups!.from ?? groups!.called!;
    if (name.startsWith('node:')) return [];
    const isPackage = !name.startsWith('.');
    return {
      file,
      line: source.slice(0, index).split('\n').length,
      target: isPackage
        ? packageOf(name)
        : normalize(join(dirname(file), name))
            .split(sep)
            .join('/'),
      isPackage,
      typesOnly: groups!.type !== undefined,
    };
  });
}

/** `@scope/name` or `name`, without a path within the package. */
function packageOf(name: string): string {
  return name.split('/', name.startsWith('@') ? 2 : 1).join('/');
}

/** The files that a program loads when it is started with these, themselves included. */
export function loadedBy(entries: readonly string[], imports: readonly Import[]): Set<string> {
  const loaded = new Set(entries);
  for (const file of loaded) {
    for (const each of imports)
      if (each.file === file && !each.isPackage && !each.typesOnly) loaded.add(each.target);
  }
  return loaded;
}
