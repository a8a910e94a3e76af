import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
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

describe('docs/decisions.md', () => {
  const sections = readFileSync(join(packageRoot, 'docs', 'decisions.md'), 'utf8')
    .split(/^##+ /m)
    .slice(1)
    .map((text) => ({
      name: text.split('\n', 1)[0]!,
      numbers: [...text.matchAll(/^(\d+|-)[. ]/gm)].map(([, n]) => n),
    }));

  it('numbers the decisions of each section from 1', () => {
    for (const { name, numbers } of sections)
      expect(numbers, name).toEqual(Array.from(numbers, (_, place) => `${place + 1}`));
  });

  it('has the decisions that others name', () => {
    const folders = ['src', 'sql', 'docs', 'test'];
    const texts = folders.flatMap((folder) =>
      readdirSync(join(packageRoot, folder), { recursive: true, encoding: 'utf8' })
        .filter((name) => /\.(?:ts|sql|md)$/.test(name))
        .map((name) => readFileSync(join(packageRoot, folder, name), 'utf8')),
    );
    const named = texts.flatMap((text) => [
      ...text.matchAll(/docs\/decisions\.md, ([A-Z][A-Za-z ]*) (\d+)/g),
    ]);
    expect(named.length).toBeGreaterThan(3);
    for (const [whole, name, number] of named)
      expect(sections.find((section) => section.name === name)?.numbers, whole).toContain(number);
  });
});
