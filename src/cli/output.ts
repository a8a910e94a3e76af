import pc from 'picocolors';

/** Whether a stream takes colours: it is a terminal that can, and NO_COLOR is not set (no-color.org). */
export function takesColours(stream: NodeJS.WriteStream, environment = process.env): boolean {
  if (environment.NO_COLOR) return false;
  if (environment.FORCE_COLOR) return environment.FORCE_COLOR !== '0';
  return stream.isTTY === true && environment.TERM !== 'dumb';
}

/** Colours for what is printed to stdout; they do nothing when it is piped. */
export const colours = pc.createColors(takesColours(process.stdout));

/** Colours for stderr. */
export const errorColours = pc.createColors(takesColours(process.stderr));

/** Data, to stdout, as lines. */
export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** Data for programs: one JSON document, indented. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value, null, 2));
}

/** A message for the person at the terminal, to stderr, so that it is never mixed with data. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

/** Columns of the terminal; a piped text is cut at the same place everywhere. */
export function width(): number {
  return process.stdout.columns || 120;
}
