import { existsSync } from 'node:fs';
import { mkdir, mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/package-root.ts';
import { faultsOf } from '../../../tools/rooms/faults.ts';
import { readImports } from '../../../tools/rooms/imports.ts';
import { layOut, withoutImplied } from '../../../tools/rooms/layout.ts';
import { drawRooms } from '../../../tools/rooms/picture.ts';
import { entries, type Room, readRooms } from '../../../tools/rooms/table.ts';

const page = await readFile(join(packageRoot, 'docs', 'architecture.md'), 'utf8');
const rooms = readRooms(page);
const imports = readImports(join(packageRoot, 'src'));

it('src/ imports what docs/architecture.md allows, and each process loads the rooms that it says', () => {
  expect(faultsOf(imports, rooms)).toEqual([]);
});

it('the picture of the rooms is what the imports are (npm run rooms draws it)', async () => {
  const picture = await readFile(join(packageRoot, 'docs', 'images', 'rooms.svg'), 'utf8');
  expect(drawRooms(imports, rooms)).toBe(picture);
});

it('the page names files that there are', () => {
  const named = [...page.matchAll(/`((?:[\w-]+\/)+[\w-]+\.ts)`/g)].map(([, path]) => path!);
  expect(named.length).toBeGreaterThan(5);
  const isThere = (path: string) =>
    existsSync(join(packageRoot, 'src', path)) || existsSync(join(packageRoot, path));
  expect(named.filter((path) => !isThere(path))).toEqual([]);
});

const house: Room[] = [
  { name: 'cli', processes: ['main'], mayImport: ['worker'], packages: ['commander'] },
  { name: 'worker', processes: ['main'], mayImport: [], packages: [] },
  { name: 'utilities', processes: Object.keys(entries), mayImport: [], packages: [] },
];

/** The imports of sources with this content, by path. */
async function importsOf(sources: Record<string, string>) {
  const folder = await mkdtemp(join(tmpdir(), 'rooms-'));
  for (const [path, source] of Object.entries(sources)) {
    await mkdir(join(folder, path, '..'), { recursive: true });
    await writeFile(join(folder, path), source);
  }
  return readImports(folder);
}

it('a wrong import is told with its file, what it imports, and the rule', async () => {
  const found = await importsOf({
    'cli/main.ts': `import { Command } from 'commander';
import {
  type Job,
  work,
} from '../worker/work.ts';
`,
    'worker/work.ts': `import { join } from 'node:path';
export type { Flags } from '../cli/main.ts';
export * from '../errors.ts';
const pino = await import('pino');
`,
    'errors.ts': '',
  });
  expect(found.map(({ target, line }) => [target, line])).toEqual([
    ['commander', 1],
    ['worker/work.ts', 2],
    ['cli/main.ts', 2],
    ['errors.ts', 3],
    ['pino', 4],
  ]);
  expect(faultsOf(found, house)).toEqual([
    'src/worker/work.ts:2 imports src/cli/main.ts, but worker may import nothing',
    'src/worker/work.ts:4 imports the package pino, but worker may import nothing of the packages',
  ]);
});

it('a room that a process loads against the table is told, and types alone load nothing', async () => {
  const found = await importsOf({
    'cli/main.ts': "import type { Job } from '../worker/work.ts';\nimport '../errors.ts';\n",
    'worker/work.ts': "import '../errors.ts';\n",
  });
  expect(faultsOf(found, house)).toEqual([
    'worker: the table says that it runs in main, and it is loaded by nothing',
  ]);
});

it('a table by which a room may import itself by way of others is wrong', () => {
  const circle = house.map((room) => (room.name === 'worker' ? { ...room, mayImport: ['cli'] } : room));
  expect(faultsOf([], circle)).toContain('worker: by the table it may import itself by way of others');
});

it('a layout has every arrow go down, and no two nodes of a layer over each other', () => {
  const edges = ['a b', 'a c', 'b d', 'c d', 'a d', 'd e', 'a e'].map((pair) => {
    const [from, to] = pair.split(' ') as [string, string];
    return { from, to };
  });
  expect(withoutImplied(edges).map(({ from, to }) => from + to)).toEqual(['ab', 'ac', 'bd', 'cd', 'de']);
  const { places, arrows } = layOut(['a', 'b', 'c', 'd', 'e'], edges, () => 10);
  for (const { points } of arrows) {
    const layers = points.map(({ layer }) => layer);
    expect(layers).toEqual(layers.map((_, step) => layers[0]! + step));
  }
  expect(Math.abs(places.get('b')!.x - places.get('c')!.x)).toBeGreaterThanOrEqual(10);
});
