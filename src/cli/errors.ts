import pg from 'pg';
import { type Connection, clientConfig } from '../database/database.ts';
import { codeOf, isConnectionError } from '../database/errors.ts';
import { messageOf, UserError } from '../errors.ts';

/** The command was called in a wrong way: exit code 2 instead of 1. */
export class UsageError extends UserError {
  override readonly name = 'UsageError';
}

/** What stderr gets for an error, and the exit code. */
export interface ErrorReport {
  text: string;
  exitCode: 1 | 2;
}

/**
 * An error as `pgembedder: what, where, what to do` in one line when its reader can mend it; anything else is a defect
 * and keeps its trace.
 */
export function reportError(error: unknown): ErrorReport {
  if (error instanceof UserError)
    return { text: oneLineOf(error.message, error.hint), exitCode: error instanceof UsageError ? 2 : 1 };
  if (error instanceof pg.DatabaseError)
    return { text: oneLineOf(error.message, error.hint ?? adviceFor(error.code)), exitCode: 1 };
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { text: `pgembedder: this is a defect, please report it\n${trace}`, exitCode: 1 };
}

/** The line for a message and what to do about it. */
export function oneLineOf(message: string, hint?: string): string {
  const parts = [message, hint].filter((part) => part !== undefined && part !== '') as string[];
  const sentences = parts.map((part) => part.replace(/\s+/g, ' ').trim().replace(/\.$/, ''));
  return `pgembedder: ${sentences.join('. ')}`;
}

/** What to do about errors to which PostgreSQL gives no hint of its own. */
function adviceFor(code: string | undefined): string | undefined {
  if (code?.startsWith('28')) return 'Check user and password in the database URL';
  if (code === '3D000') return 'Create it with createdb, or name another one in the database URL';
  if (code === '42501') return 'pgembedder doctor says which rights are missing';
  if (code === '57014') return 'The statement was cancelled, on purpose or by statement_timeout';
  return undefined;
}

/** An error of a lost or refused connection, as one that says where to and what to do; any other as it is. */
export function explainConnection(error: unknown, connection: Connection): unknown {
  // ENOENT is a socket that is not there, or else some file.
  const ofFile =
    codeOf(error) === 'ENOENT' &&
    !(error instanceof Error && 'syscall' in error && error.syscall === 'connect');
  if (ofFile || !isConnectionError(error) || error instanceof UserError) return error;
  return new UserError(`cannot reach PostgreSQL at ${addressOf(connection)}: ${reasonOf(error)}`, {
    hint: 'Start the server, or give another address by --database-url or DATABASE_URL; --embedded needs no server',
    cause: error,
  });
}

/** `host:port` of a connection, or the folder of its socket; never its password. */
export function addressOf(connection: Connection): string {
  const { host, port } = new pg.Client(clientConfig(connection));
  return host.startsWith('/') ? `${host} (port ${port})` : `${host}:${port}`;
}

const REASONS: Record<string, string> = {
  ECONNREFUSED: 'nobody listens there',
  ENOENT: 'there is no such socket',
  ENOTFOUND: 'there is no host of that name',
  EAI_AGAIN: 'the name of the host cannot be looked up',
  EHOSTUNREACH: 'there is no way to that host',
  ETIMEDOUT: 'no answer in time',
  ECONNRESET: 'the connection was cut',
  EPIPE: 'the connection was cut',
};

function reasonOf(error: unknown): string {
  const message = messageOf(error);
  if (/timeout exceeded when trying to connect/.test(message)) return 'no answer in time';
  return REASONS[codeOf(error)] ?? (message || codeOf(error));
}
