import colours from 'picocolors';
import { type Figure, type Row, reached } from './row.ts';

/** A row's figures as a table. */
export function printRow(row: Row, figures: readonly Figure[]): void {
  console.log(`\n${colours.bold(row.title)} ${colours.dim(`(${row.name})`)}`);
  const lines = figures.map((figure) => [figure.name, valueText(figure), barText(figure), verdict(figure)]);
  const widths = [0, 1, 2].map((column) => Math.max(...lines.map((line) => line[column]!.length)));
  for (const [name, value, bar, result] of lines) {
    console.log(
      `  ${name!.padEnd(widths[0]!)}  ${value!.padStart(widths[1]!)}  ${bar!.padEnd(widths[2]!)}  ${result}`.trimEnd(),
    );
  }
}

function valueText({ value, unit }: Figure): string {
  return value === null ? '-' : `${number(value)} ${unit}`;
}

function barText({ bar, unit }: Figure): string {
  if (!bar) return '';
  return 'atLeast' in bar ? `>= ${number(bar.atLeast)} ${unit}` : `<= ${number(bar.atMost)} ${unit}`;
}

function verdict(figure: Figure): string {
  if (figure.note) return colours.yellow(figure.note);
  const result = reached(figure);
  if (result === undefined) return '';
  return result ? colours.green('reached') : colours.red('missed');
}

function number(value: number): string {
  const digits = value >= 100 ? 0 : value >= 10 ? 1 : 2;
  return value.toLocaleString('en', { minimumFractionDigits: digits, maximumFractionDigits: digits });
}
