import { colours } from './output.ts';

/** A column of a table for people. */
export interface Column<Row> {
  title: string;
  /** Numbers stand to the right. */
  align?: 'right';
  text(row: Row): string;
  /** Paints the padded text. */
  paint?(text: string, row: Row): string;
}

/**
 * Rows as lines under a head, two blanks between the columns.
 * @param below lines that belong under a row, such as an error
 */
export function formatTable<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  below: (row: Row) => string[] = () => [],
): string[] {
  const cells = rows.map((row) => columns.map((column) => column.text(row)));
  const widths = columns.map((column, i) =>
    Math.max(column.title.length, ...cells.map((texts) => texts[i]!.length)),
  );
  const join = (texts: string[], paint: (text: string, i: number) => string) =>
    texts
      .map((text, i) => {
        const last = i === columns.length - 1;
        const padded =
          columns[i]!.align === 'right' ? text.padStart(widths[i]!) : last ? text : text.padEnd(widths[i]!);
        return paint(padded, i);
      })
      .join('  ');
  const head = join(
    columns.map(({ title }) => title),
    (text) => colours.dim(text),
  );
  const lines = rows.flatMap((row, r) => [
    join(cells[r]!, (text, i) => columns[i]!.paint?.(text, row) ?? text),
    ...below(row),
  ]);
  return [head, ...lines];
}
