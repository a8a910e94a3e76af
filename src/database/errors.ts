import pg from 'pg';
import { codeOf } from '../errors.ts';

/** SQLSTATEs by their names in PostgreSQL. */
export const INSUFFICIENT_PRIVILEGE = '42501';
export const UNDEFINED_OBJECT = '42704';
export const OBJECT_NOT_IN_PREREQUISITE_STATE = '55000';
/** Of a wait for a lock that took too long. */
export const LOCK_NOT_AVAILABLE = '55P03';
export const QUERY_CANCELED = '57014';

// Classes 08 (connection), 57P (the server stops or starts), 53300 (too many connections), and the network's own.
const CONNECTION_CODES =
  /^(08...|57P0.|53300|ECONN.*|ENOTFOUND|EAI_AGAIN|ETIMEDOUT|EPIPE|ENOENT|EHOSTUNREACH)$/;
const CONNECTION_MESSAGES =
  /Connection terminated|timeout exceeded when trying to connect|timeout expired|connection error|not queryable/i;

/** Whether the server could not be reached or went away: the same query may succeed later. */
export function isConnectionError(error: unknown): boolean {
  return (
    CONNECTION_CODES.test(codeOf(error)) ||
    (error instanceof Error &&
      !(error instanceof pg.DatabaseError) &&
      CONNECTION_MESSAGES.test(error.message))
  );
}

const READ_ONLY = '25006';
const ANSWER_TIMEOUT = 'Query read timeout';

/** Whether a query had no answer in its time, and was given up here. */
export function isAnswerTimeout(error: unknown): boolean {
  return error instanceof Error && !(error instanceof pg.DatabaseError) && error.message === ANSWER_TIMEOUT;
}

/**
 * Whether the connection is no good for the next query although it is open: it leads to a server that has become a
 * standby, or to one that does not answer.
 */
export function outlivesConnection(error: unknown): boolean {
  return codeOf(error) === READ_ONLY || isAnswerTimeout(error);
}

/** Whether to wait and try again: the server is away, or another one is about to take its place. */
export function isAway(error: unknown): boolean {
  return isConnectionError(error) || outlivesConnection(error);
}

/** Whether another transaction got in the way (serialization failure, deadlock): the same query succeeds when repeated. */
export function isConflict(error: unknown): boolean {
  const code = codeOf(error);
  return code === '40001' || code === '40P01';
}

/**
 * Whether the error comes from a row's content: a value that does not fit (22), a constraint (23), a limit such as that of
 * an index entry (54), or an exception of the user's trigger (P0, 45, or a class of letters that PostgreSQL does not use).
 * Then the rest of the batch can be written without that row.
 */
export function isRowError(error: unknown): boolean {
  return /^(22|23|45|54|P0|[I-OQ-WYZ][0-9A-Z])...$/.test(codeOf(error)) && error instanceof pg.DatabaseError;
}

/** PostgreSQL's hint for an error, if it gave one. */
export function hintOf(error: unknown): string | undefined {
  return error instanceof pg.DatabaseError ? error.hint : undefined;
}
