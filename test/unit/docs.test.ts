import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { describeSettings } from '../../src/config.ts';
import { describeMetrics } from '../../src/http/metrics/metrics.ts';
import { packageRoot } from '../../src/package-root.ts';

const file = join(packageRoot, 'docs', 'operations.md');

it('docs/operations.md lists every setting as the code has it', () => {
  checkTable('settings', [
    ['variable', 'default', 'meaning'],
    ...describeSettings().map(({ name, fallback, meaning }) => [`\`${name}\``, fallback ?? '', meaning]),
  ]);
});

it('docs/operations.md lists every metric as the code has it', () => {
  checkTable('metrics', [
    ['metric', 'type', 'labels', 'meaning'],
    ...describeMetrics().map(({ name, type, labels, meaning }) => [
      `\`${name}\``,
      type,
      labels.join(', '),
      meaning,
    ]),
  ]);
});

it('docs/operations.md says what to do about every alert', () => {
  const alerts = readFileSync(join(packageRoot, 'deploy', 'prometheus', 'alerts.yml'), 'utf8');
  const rows = readFileSync(file, 'utf8').matchAll(/^\| (Pgembedder\w+) \| .+ \| .+ \|$/gm);
  expect([...rows].map(([, name]) => name)).toEqual(
    [...alerts.matchAll(/- alert: (\w+)/g)].map(([, name]) => name),
  );
});

/** Compares a table of the page, between the marks of that name, with what it has to be. */
function checkTable(mark: string, [head, ...rows]: string[][]): void {
  const table = [head!, head!.map(() => '---'), ...rows]
    .map((cells) => `| ${cells.join(' | ')} |\n`)
    .join('');
  const marked = new RegExp(`(<!-- ${mark}:.*?-->\\n)[\\s\\S]*?(<!-- /${mark} -->)`);
  const before = readFileSync(file, 'utf8');
  expect(before).toMatch(marked);
  const after = before.replace(marked, `$1${table}$2`);
  // To bring the page up to date: WRITE_DOCS=1 npx vitest run test/unit/docs.test.ts
  if (process.env.WRITE_DOCS) writeFileSync(file, after);
  else expect(before).toBe(after);
}
