import { type Logger, pino } from 'pino';

/** The log where the caller gives none: what is wrong, on stderr. */
export function standardLogger(): Logger {
  return pino({ name: 'pgembedder', level: 'warn' }, pino.destination(2));
}
