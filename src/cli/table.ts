import { colours } from './output.ts';

/** A column of a table for people. */
export interface Column<Row> {
  title: string;
  /** Numbers are aligned to the right. */
  align?: 'right';
  text(row: Row): string;
  /** Left out where there is no room, the lowest number first; a column without a number stays. */
  dispensable?: number;
  /** Paints the padded text. */
  paint?(text: string, row: Row): string;
}

/** The columns that fit into the given width. */
export function fitColumns<Row>(
  rows: readonly Row[],
  columns: readonly Column<Row>[],
  room: number,
): readonly Column<Row>[] {
  const widths = columns.map((column) =>
    Math.max(column.title.length, ...rows.map((row) => column.text(row).length)),
  );
  const width = widths.reduce((sum, each) => sum + each + GAP.length, -GAP.length);
  const least = Math.min(...columns.map(({ dispensable = Number.POSITIVE_INFINITY }) => dispensable));
  if (width <= room || !Number.isFinite(least)) return columns;
  return fitColumns(
    rows,
    columns.filter(({ dispensable }) => dispensable !== least),
    room,
  );
}

/** Between two columns. */
const GAP = '  ';

/**
 * Rows as lines under a head, two blanks between the columns.
 * @param below gives the lines under a row, such as an error
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
      .join(GAP);
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
