import { execFile } from 'node:child_process';
import { link, mkdir, mkdtemp, readdir, symlink } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { packageRoot } from '../../../src/package-root.ts';

const execute = promisify(execFile);

/** An application's folder in which the package is installed. */
export interface Installation {
  readonly folder: string;
  /** What was packed, by path within the package. */
  readonly files: readonly string[];
}

/**
 * An empty folder in which the package lies as `npm pack` packs it, and its dependencies as they are here. Nothing is
 * packed or fetched in truth, which would take a minute.
 */
export async function installPacked(): Promise<Installation> {
  // Below the project, so that files can be linked; npm and git leave the folder alone.
  await mkdir(join(packageRoot, 'node_modules/.cache'), { recursive: true });
  const folder = await mkdtemp(join(packageRoot, 'node_modules/.cache/packed-'));
  // prepack would build again, under the feet of tests that run what is built.
  const { stdout } = await execute('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], {
    cwd: packageRoot,
    maxBuffer: 2 ** 24,
  });
  const [{ files }] = JSON.parse(stdout) as [{ files: { path: string }[] }];
  const paths = files.map(({ path }) => path);
  const target = join(folder, 'node_modules/pgembedder');
  for (const path of paths) {
    await mkdir(dirname(join(target, path)), { recursive: true });
    await link(join(packageRoot, path), join(target, path));
  }
  for (const name of await readdir(join(packageRoot, 'node_modules'))) {
    if (name.startsWith('.') || name === 'onnxruntime-node') continue;
    await symlink(join(packageRoot, 'node_modules', name), join(folder, 'node_modules', name));
  }
  return { folder, files: paths };
}
