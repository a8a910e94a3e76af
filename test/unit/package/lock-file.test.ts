import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/package-root.ts';

const read = (name: string) => JSON.parse(readFileSync(join(packageRoot, name), 'utf8'));

// npm runs install scripts of those packages of which the lock file says that they have some. Who has run `npm install`
// and fails here takes the line `"hasInstallScript": true` out again.
it('npm ci does not run the install script of onnxruntime-node, which downloads GPU libraries', () => {
  const { packages } = read('package-lock.json');
  expect(packages['node_modules/onnxruntime-node']).not.toHaveProperty('hasInstallScript');
});

it('the package brings onnxruntime-node along, without its install script', () => {
  const { bundleDependencies, scripts } = read('package.json');
  expect(bundleDependencies).toEqual(['onnxruntime-node']);
  expect(scripts.prepack).toContain(
    'npm pkg delete scripts.postinstall --prefix node_modules/onnxruntime-node',
  );
});
