/** 12345 as 12,345; `?` for what is being counted. */
export function count(value: number | null): string {
  return value === null ? '?' : value.toLocaleString('en');
}

/** A share as a percentage, which is 100 only when nothing is missing, and 0 only when nothing is there. */
export function share(value: number | null): string {
  if (value === null) return '–';
  const percent = value * 100;
  if (value < 1 && percent > 99.9) return '99.9 %';
  if (value > 0 && percent < 0.1) return '0.1 %';
  return `${Math.round(percent * 10) / 10} %`;
}

/** A time as people say it: 5 s, 3 min, 2 h, 4 d. */
export function duration(seconds: number | null): string {
  if (seconds === null) return '–';
  if (seconds < 1) return '< 1 s';
  if (seconds < 90) return `${Math.round(seconds)} s`;
  if (seconds < 90 * 60) return `${Math.round(seconds / 60)} min`;
  if (seconds < 36 * 3600) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86_400)} d`;
}

/** 3.2 ms, 41 ms, 1.5 s. */
export function milliseconds(value: number): string {
  if (value >= 1_000) return `${(value / 1_000).toFixed(1)} s`;
  return `${value < 10 ? Math.round(value * 10) / 10 : Math.round(value)} ms`;
}

export function bytes(value: number): string {
  return value < 2 ** 30 ? `${Math.round(value / 2 ** 20)} MiB` : `${(value / 2 ** 30).toFixed(1)} GiB`;
}

export function since(moment: string, now: string): string {
  return duration(Math.max(0, (Date.parse(now) - Date.parse(moment)) / 1000));
}
