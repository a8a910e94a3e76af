import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { packageRoot } from '../../src/package-root.ts';
import { faultsOf } from './faults.ts';
import { readImports } from './imports.ts';
import { drawRooms } from './picture.ts';
import { readRooms } from './table.ts';

// Compares the imports of src/ with docs/architecture.md; with --draw it draws the page's picture anew.
const rooms = readRooms(readFileSync(join(packageRoot, 'docs', 'architecture.md'), 'utf8'));
const imports = readImports(join(packageRoot, 'src'));
const picture = join(packageRoot, 'docs', 'images', 'rooms.svg');
const faults = faultsOf(imports, rooms);

if (process.argv.includes('--draw')) writeFileSync(picture, drawRooms(imports, rooms));
else if (readFileSync(picture, 'utf8') !== drawRooms(imports, rooms))
  faults.push('docs/images/rooms.svg is not what the imports are: npm run rooms draws it');

for (const fault of faults) console.error(fault);
process.exitCode = faults.length > 0 ? 1 : 0;
