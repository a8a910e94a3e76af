import { execFile } from 'node:child_process';
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { messageOf } from '../../src/errors.ts';
import { packageRoot } from '../../src/package-root.ts';

const run = promisify(execFile);
const EXTRACT_SCRIPT = fileURLToPath(new URL('./extract-package.sh', import.meta.url));
/** Kept from run to run, and gone with node_modules. */
const PROGRAMS = join(packageRoot, 'node_modules', '.cache', 'pgembedder-programs');

/** A program that the tests run beside PostgreSQL. */
export interface Program {
  readonly path: string;
  /** To be added to its environment. */
  readonly env: Record<string, string>;
}

/**
 * Finds a program: on the PATH, or else, as root on Debian, in a package that is unpacked for the tests. Null, and a line
 * that says so, where it cannot be had.
 */
export async function findProgram(name: string, debianPackage: string): Promise<Program | null> {
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin'];
  const installed = folders.map((folder) => join(folder, name)).find((path) => existsSync(path));
  if (installed) return { path: installed, env: {} };
  const root = join(PROGRAMS, debianPackage);
  try {
    if (process.getuid?.() !== 0 || !existsSync('/etc/debian_version'))
      throw new Error(`it is not on the PATH, and only root on Debian can fetch its package`);
    await run('bash', [EXTRACT_SCRIPT, debianPackage, root]);
  } catch (error) {
    console.log(`[${name}] cannot be had, its tests are skipped: ${messageOf(error)}`);
    return null;
  }
  const path = [`usr/bin/${name}`, `usr/sbin/${name}`]
    .map((file) => join(root, file))
    .find((file) => existsSync(file));
  if (!path) throw new Error(`the package ${debianPackage} has no program ${name}`);
  const { stdout } = await run('find', [join(root, 'usr'), '-name', '*.so.*', '-printf', '%h\n']).catch(
    () => ({
      stdout: '',
    }),
  );
  const libraries = [...new Set(stdout.split('\n').filter((folder) => folder !== ''))];
  return { path, env: libraries.length > 0 ? { LD_LIBRARY_PATH: libraries.join(delimiter) } : {} };
}
