import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { createProgram } from '../../src/cli/program.ts';
import { catalog } from '../../src/models/catalog.ts';
import { packageRoot } from '../../src/package-root.ts';

const file = join(packageRoot, 'docs', 'models.md');
const marked = /(<!-- catalog:.*?-->\n)[\s\S]*?(<!-- \/catalog -->)/;

it('docs/models.md lists the catalog as it is', () => {
  const rows = catalog().map((entry) => {
    const vectors = entry.task === 'feature-extraction' ? entry : null;
    const prompts = vectors
      ? [...new Set(Object.values(vectors.prompts))]
          .filter(Boolean)
          .map((prompt) => `\`${prompt.replaceAll('\n', '\\n')}\``)
      : [];
    return `| \`${entry.name}\` | ${entry.task} | ${vectors?.dimensions ?? ''} | ${entry.max_tokens} | ${vectors?.pooling ?? ''} | ${prompts.join(', ')} | ${entry.licence} | ${entry.files.length > 0 ? 'yes' : ''} |`;
  });
  const table = [
    '',
    '| model | task | dimensions | tokens | pooling | prompts | licence | run here |',
    '| --- | --- | --- | --- | --- | --- | --- | --- |',
    ...rows,
    '',
    '',
  ].join('\n');
  const before = readFileSync(file, 'utf8');
  const after = before.replace(marked, `$1${table}$2`);
  // To bring the page up to date: WRITE_DOCS=1 npx vitest run test/unit/docs-models.test.ts
  if (process.env.WRITE_DOCS) writeFileSync(file, after);
  else expect(before).toBe(after);
});

it('docs/models.md names commands and flags that there are', () => {
  // As code: a line that is set in, or between backticks.
  const code = /(?:^ {4}|`)(?:RUN )?(?:pgembedder )?((?:models|embed|classify|pipeline) [^`\n]+)/gm;
  const commands = [...readFileSync(file, 'utf8').matchAll(code)].map(([, line]) => line!);
  expect(commands.length).toBeGreaterThan(10);
  for (const line of commands) {
    const words = line.replaceAll(/"[^"]*"/g, 'TEXT').split(' ');
    let command = createProgram();
    while (command.commands.length > 0) {
      const name = words.shift();
      const next = command.commands.find((each) => each.name() === name);
      expect(next, line).toBeDefined();
      command = next!;
    }
    for (const flag of words.filter((word) => word.startsWith('--'))) {
      expect(
        command.options.map(({ long }) => long),
        line,
      ).toContain(flag);
    }
  }
});
