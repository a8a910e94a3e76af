import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type pg from 'pg';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { packageRoot } from '../../../src/package-root.ts';
import type { Worker } from '../../../src/worker/worker.ts';
import { createMigratedDatabase, type MigratedDatabase, workerOn } from '../../support/pgembedder.ts';
import { pollUntil } from '../../support/poll-until.ts';

const file = join(packageRoot, 'docs', 'sql.md');
/** An example and, under it, what came out; or the mark for the worker to end its work. */
const marked = /<!-- wait -->|```sql\n([\s\S]*?)```\n(?:\n```text\n[\s\S]*?```\n)?/g;

let database: MigratedDatabase;
let worker: Worker;

beforeAll(async () => {
  database = await createMigratedDatabase();
  await database.query('create extension dblink');
  worker = workerOn(database);
  await worker.start();
});
afterAll(async () => {
  await worker.stop();
  await database.drop();
});

it('docs/sql.md shows what its examples give', async () => {
  const before = readFileSync(file, 'utf8');
  let after = '';
  let at = 0;
  for (const match of before.matchAll(marked)) {
    after += before.slice(at, match.index);
    at = match.index + match[0].length;
    if (match[1] === undefined) {
      await settled();
      after += match[0];
    } else {
      const output = await outputOf(match[1]);
      after += `\`\`\`sql\n${match[1]}\`\`\`\n${output === '' ? '' : `\n\`\`\`text\n${output}\`\`\`\n`}`;
    }
  }
  after += before.slice(at);
  // To bring the page up to date: WRITE_DOCS=1 npx vitest run test/integration/docs
  if (process.env.WRITE_DOCS) writeFileSync(file, after);
  else expect(before).toBe(after);
});

/** Until nothing is queued and all that is filled is indexed. */
async function settled(): Promise<void> {
  await pollUntil(
    async () =>
      (
        await database.query(`select from embedder.pipeline p where filled_at is null
          or exists (select from embedder.job) or exists (select from embedder.backfill_range)
          or (p.live and exists (select from embedder.status s where s.pipeline = p.name and s.index_state not in ('none', 'built')))`)
      ).rowCount === 0,
    { what: 'the end of the work', deadline: 50_000 },
  );
}

async function outputOf(example: string): Promise<string> {
  const results = await database.pool.query(example).then(
    (result) => [result].flat() as pg.QueryResult<Record<string, unknown>>[],
    (error: pg.DatabaseError) =>
      `ERROR ${error.code}: ${error.message}\n${error.hint ? `HINT: ${error.hint}\n` : ''}`,
  );
  if (typeof results === 'string') return results;
  return results
    .filter(({ fields }) => fields.length > 0)
    .map(tableOf)
    .join('\n');
}

/** As psql prints it: booleans t and f, numbers to the right, nothing for null. */
function tableOf({ fields, rows }: pg.QueryResult<Record<string, unknown>>): string {
  const cells = rows.map((row) => fields.map(({ name }) => textOf(row[name])));
  const numeric = fields.map(({ name }) => rows.every((row) => /^-?[\d.]*$/.test(textOf(row[name]))));
  const widths = fields.map(({ name }, i) => Math.max(name.length, ...cells.map((row) => row[i]!.length)));
  const line = (parts: string[]) => ` ${parts.join(' | ')}`.trimEnd();
  return [
    line(fields.map(({ name }, i) => name.padEnd(widths[i]!))),
    widths.map((width) => '-'.repeat(width + 2)).join('+'),
    ...cells.map((row) =>
      line(row.map((cell, i) => (numeric[i] ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))),
    ),
    `(${rows.length} ${rows.length === 1 ? 'row' : 'rows'})`,
    '',
  ].join('\n');
}

function textOf(value: unknown): string {
  if (value === null || value === undefined) return '';
  if (typeof value === 'boolean') return value ? 't' : 'f';
  return String(value).replaceAll('\n', '\\n');
}
