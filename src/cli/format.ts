const number = new Intl.NumberFormat('en-US');

/** 12345 as `12,345`. */
export function formatCount(count: number): string {
  return number.format(Math.round(count));
}

/** `1 row`, `12,345 rows`. */
export function plural(count: number, one: string, many = `${one}s`): string {
  return `${formatCount(count)} ${count === 1 ? one : many}`;
}

/** A size for people, in powers of ten: `612 B`, `4.1 MB`, `1.2 GB`. */
export function formatBytes(bytes: number): string {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let unit = 0;
  let value = bytes;
  // 999.95 would be shown as 1000.0.
  while (value >= 999.95 && unit < units.length - 1) {
    value /= 1_000;
    unit++;
  }
  return `${unit === 0 ? value : value.toFixed(1)} ${units[unit]}`;
}

/** A time span for people: `0.4 s`, `12 s`, `3 min 5 s`, `2 h 3 min`, `4 d 1 h`. */
export function formatSeconds(seconds: number): string {
  if (seconds < 9.95) return `${seconds.toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3_600) return two(Math.floor(whole / 60), 'min', whole % 60, 's');
  const minutes = Math.round(whole / 60);
  if (minutes < 1_440) return two(Math.floor(minutes / 60), 'h', minutes % 60, 'min');
  const hours = Math.round(minutes / 60);
  return two(Math.floor(hours / 24), 'd', hours % 24, 'h');
}

function two(large: number, largeUnit: string, small: number, smallUnit: string): string {
  return small === 0 ? `${large} ${largeUnit}` : `${large} ${largeUnit} ${small} ${smallUnit}`;
}

/** A few milliseconds: `0.42 ms`, `4.2 ms`, `42 ms`. */
export function formatMilliseconds(milliseconds: number): string {
  const digits = milliseconds < 1 ? 2 : milliseconds < 10 ? 1 : 0;
  return `${milliseconds.toFixed(digits)} ms`;
}

/** A share as `97.3 %`. Less than all is never shown as `100.0 %`, and more than nothing never as `0.0 %`. */
export function formatShare(share: number): string {
  const percent = share * 100;
  const shown = percent >= 100 ? 100 : Math.min(99.9, percent > 0 ? Math.max(0.1, percent) : 0);
  return `${shown.toFixed(1)} %`;
}

/**
 * A user's text as one line of at most `limit` characters. White space becomes one blank, and so do control characters, with
 * which a text could take over the terminal.
 */
export function oneLine(text: string, limit: number): string {
  // Ten times the limit: the rest would be cut off anyway, and runs of blanks are rarely longer.
  const line = text
    .slice(0, limit * 10)
    .replace(/[\s\p{Cc}\p{Cf}]+/gu, ' ')
    .trim();
  const characters = [...line];
  if (characters.length <= limit && text.length <= limit * 10) return line;
  return `${characters.slice(0, Math.max(1, limit - 1)).join('')}…`;
}

/** The shortest decimal number that PostgreSQL reads as the same float4. */
export function shortFloat(value: number): number {
  for (let digits = 6; digits < 9; digits++) {
    const short = Number(value.toPrecision(digits));
    if (Math.fround(short) === Math.fround(value)) return short;
  }
  return Number(value.toPrecision(9));
}
