import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeSettings } from '../../src/config.ts';
import { packageRoot } from '../../src/package-root.ts';

const file = join(packageRoot, 'docs', 'operations.md');
const marked = /(<!-- settings:.*?-->\n)[\s\S]*?(<!-- \/settings -->)/;

it('docs/operations.md lists every setting as the code has it', () => {
  const table = [
    '| variable | default | meaning |',
    '| --- | --- | --- |',
    ...describeSettings().map(
      ({ name, fallback, meaning }) => `| \`${name}\` | ${fallback ?? ''} | ${meaning} |`,
    ),
    '',
  ].join('\n');
  const before = readFileSync(file, 'utf8');
  const after = before.replace(marked, `$1${table}$2`);
  // To bring the page up to date: WRITE_DOCS=1 npx vitest run test/unit/docs.test.ts
  if (process.env.WRITE_DOCS) writeFileSync(file, after);
  else expect(before).toBe(after);
});
