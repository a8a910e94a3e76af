import fc from 'fast-check';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { createMigratedDatabase, type MigratedDatabase } from '../support/pgembedder.ts';
import { holds, name, storableText } from './property.ts';

let database: MigratedDatabase;

beforeAll(async () => {
  database = await createMigratedDatabase();
});
afterAll(() => database.drop());

/** A piece of a template: a text that stands there, or a column by its place. */
const pieces = fc.array(
  fc.oneof(
    storableText.map((text) => ({ text })),
    fc.nat(2).map((column) => ({ column })),
  ),
  {
    minLength: 1,
    maxLength: 8,
  },
);
const columns = fc.uniqueArray(
  // Braces cannot be named in a template, and the key's name is taken.
  name.filter((given) => !/[{}]/.test(given) && !isSystemColumn(given) && given !== 'id'),
  { minLength: 3, maxLength: 3 },
);
const values = fc.tuple(...Array.from({ length: 3 }, () => fc.option(storableText)));

it('any template over any columns gives the text that it says', async () => {
  await holds([columns, pieces, values], async (names, parts, row) => {
    if (!parts.some((part) => 'column' in part)) return;
    const template = parts
      .map((part) => ('column' in part ? `{${names[part.column]}}` : written(part.text)))
      .join('');
    await database.query(
      `drop table if exists page; create table page (id int, ${names.map((n) => `${quoted(n)} text`).join(', ')})`,
    );
    await database.query('insert into page values (1, $1, $2, $3)', row);
    const { rows: expressions } = await database.query<{ sql: string }>(
      `select embedder.input_expression('page', $1, 'r') as sql`,
      [template],
    );
    const { rows } = await database.query<{ input: string | null }>(
      `select ${expressions[0]!.sql} as input from page r`,
    );
    const named = parts.flatMap((part) => ('column' in part ? [row[part.column] ?? ''] : []));
    const text = parts.map((part) => ('column' in part ? (row[part.column] ?? '') : part.text)).join('');
    // A template of one column is that column; another one is nothing where its columns have nothing to say.
    const wanted =
      parts.length === 1
        ? row[(parts[0] as { column: number }).column]
        : isBlank(named.join(''))
          ? null
          : text;
    expect(rows[0]!.input).toBe(wanted ?? null);
  });
});

/** A text as a template has it. */
const written = (text: string) => text.replaceAll(/[{}]/g, '$&$&').replaceAll('\\', '\\\\');
const quoted = (text: string) => `"${text.replaceAll('"', '""')}"`;
/** What PostgreSQL takes for white space, which is more than ASCII's. */
const isBlank = (text: string) => !/[^\s]/u.test(text);

function isSystemColumn(column: string): boolean {
  return ['ctid', 'xmin', 'xmax', 'cmin', 'cmax', 'tableoid'].includes(column);
}
