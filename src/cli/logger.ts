import { type Logger, type LoggerOptions, pino } from 'pino';
import { PinoPretty } from 'pino-pretty';
import { takesColours } from './output.ts';

/**
 * The log, on stderr: lines for people on a terminal, and JSON, one object a line, where it is piped.
 * Written at once, so that the last line before an end is not lost.
 */
export function createLogger(level: string): Logger {
  const options: LoggerOptions = { level, base: { pid: process.pid }, serializers: { err: serializeError } };
  if (!process.stderr.isTTY) return pino(options, pino.destination({ dest: 2, sync: true }));
  const pretty = PinoPretty({
    destination: 2,
    sync: true,
    colorize: takesColours(process.stderr),
    ignore: 'pid',
    singleLine: true,
    translateTime: 'SYS:HH:MM:ss',
  });
  return pino(options, pretty);
}

/** Of PostgreSQL's errors `detail`, `where` and `internalQuery` are left out: they quote rows, and rows stay out of the log. */
function serializeError(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const { type, message, code, stack } = pino.stdSerializers.err(error);
  return { type, message, ...(code === undefined ? {} : { code }), stack };
}
