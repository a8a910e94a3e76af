import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/package-root.ts';
import { DEFAULT_TASK, tasks } from '../../../src/tasks/tasks.ts';

/** The files of a folder that end so, and what is in them. */
function filesOf(folder: string, ending: string): [path: string, text: string][] {
  return readdirSync(join(packageRoot, folder), { recursive: true, encoding: 'utf8' })
    .filter((path) => path.endsWith(ending))
    .map((path) => [join(folder, path), readFileSync(join(packageRoot, folder, path), 'utf8')]);
}

/** The files that name a task, comments and paths of imports aside. */
function naming(files: readonly [path: string, text: string][], aside: RegExp): string[] {
  const names = new RegExp(tasks.map(({ name }) => name).join('|'));
  return files.filter(([, text]) => names.test(text.replaceAll(aside, ''))).map(([path]) => path);
}

it('tasks are named in src/tasks alone; all else asks what a task gives', () => {
  const files = filesOf('src', '.ts');
  expect(files.length).toBeGreaterThan(100);
  const found = naming(files, /\/\*[\s\S]*?\*\/|^\s*\/\/.*$|\bfrom '.*'/gm);
  expect(found.filter((path) => !path.startsWith(join('src', 'tasks')))).toEqual([]);
  expect(found.length).toBeGreaterThanOrEqual(tasks.length);
});

it('in SQL they are named in one file, and as the default of create_pipeline', () => {
  const files = filesOf('sql', '.sql').map(([path, text]): [string, string] => [
    path,
    text.replace(`task text default '${DEFAULT_TASK}'`, ''),
  ]);
  expect(naming(files, /^\s*--.*$/gm)).toEqual([join('sql', 'base', 'tasks.sql')]);
});
