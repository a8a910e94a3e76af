/** Longest time that a server is let alone; in ms. After that it is asked again, whatever it has said. */
const MOST_MS = 600_000;

/**
 * What the header Retry-After says, as a number of seconds or as a date (RFC 9110, 10.2.3).
 * @returns ms from now, at most ten minutes; null where it says nothing that can be read
 */
export function readRetryAfter(header: unknown, now = Date.now()): number | null {
  if (typeof header !== 'string') return null;
  const text = header.trim();
  const ms = /^\d+(?:\.\d+)?$/.test(text) ? Number(text) * 1_000 : Date.parse(text) - now;
  if (Number.isNaN(ms)) return null;
  return Math.min(Math.max(ms, 0), MOST_MS);
}
