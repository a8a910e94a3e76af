import { execFileSync } from 'node:child_process';
import { expect, it } from 'vitest';
import { packageRoot } from '../../../src/package-root.ts';

/** Licences that ask for no more than to be named, by SPDX. */
const PERMISSIVE = new Set([
  '(MIT OR CC0-1.0)',
  '0BSD',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  'ISC',
  'MIT',
  'PostgreSQL',
  'PSF-2.0',
]);

it('what users install may be passed on by everybody', () => {
  const found = execFileSync('npm', ['query', '.prod'], { cwd: packageRoot, encoding: 'utf8' });
  const packages = JSON.parse(found) as { name: string; license?: string }[];
  expect(packages.length).toBeGreaterThan(50);
  expect(packages.filter(({ license }) => !PERMISSIVE.has(`${license}`))).toEqual([]);
});
