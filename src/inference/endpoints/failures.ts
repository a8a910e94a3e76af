import { EngineError, type EngineErrorKind } from '../backend/engine-error.ts';

/**
 * Something went wrong that may go well the next time, and of which nobody knows yet whether the texts or the server are
 * to blame: a connection that broke, a status such as 500, no answer in time, an answer that is not what was asked for.
 */
export class Passing extends Error {
  override readonly name = 'Passing';
  /** Whom it concerns if it turns out to be the texts. */
  readonly kind: EngineErrorKind;
  /** Whether it is worth to try again at once: not what took all the time there was. */
  readonly again: boolean;
  /** Whether the connection broke: the server may have ended. */
  readonly broken: boolean;

  constructor(message: string, options: PassingOptions = {}) {
    super(message, { cause: options.cause });
    this.kind = options.kind ?? 'run';
    this.again = options.again ?? true;
    this.broken = options.broken ?? false;
  }
}

interface PassingOptions {
  readonly kind?: EngineErrorKind;
  readonly again?: boolean;
  readonly broken?: boolean;
  readonly cause?: unknown;
}

/** The server has read the request and refuses the texts in it: 400, 413, 422. */
export class Refused extends Error {
  override readonly name = 'Refused';
}

/** Nobody could connect to the server: no text can be to blame. */
export class Unreachable extends Error {
  override readonly name = 'Unreachable';
}

/** The server takes nothing before a certain time. */
export class TooMany extends Error {
  override readonly name = 'TooMany';
  readonly status: 429 | 503;
  /** What `Retry-After` says, in ms; null where it says nothing. */
  readonly waitMs: number | null;

  constructor(status: 429 | 503, waitMs: number | null) {
    super(`it answers with status ${status}`);
    this.status = status;
    this.waitMs = waitMs;
  }
}

/** The error for whoever has to wait for an endpoint. */
export function later(endpoint: string, why: string, until: number): EngineError {
  const time = new Date(until).toISOString().slice(11, 19);
  return new EngineError('later', `Endpoint '${endpoint}' takes nothing before ${time} UTC: ${why}`, {
    until,
  });
}

export function stopped(endpoint: string): EngineError {
  return new EngineError('stopped', `Endpoint '${endpoint}' was closed before it answered`);
}
