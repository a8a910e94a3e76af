import pg from 'pg';
import { type Connection, clientConfig } from '../database/database.ts';
import { isConnectionError } from '../database/errors.ts';
import { codeOf, messageOf, UserError } from '../errors.ts';

/** The command was called in a wrong way: exit code 2 instead of 1. */
export class UsageError extends UserError {
  override readonly name = 'UsageError';
}

/** An error as it is shown to its reader. */
export interface ErrorReport {
  /** What stderr gets. */
  text: string;
  /** What is wrong. */
  message: string;
  /** What to do about it. */
  hint?: string | undefined;
  exitCode: 1 | 2;
}

/**
 * An error as one line, `pgembedder: what, where, what to do`, when its reader can mend it. Anything else is a defect, and
 * keeps its trace.
 */
export function reportError(error: unknown): ErrorReport {
  if (error instanceof UserError)
    return report(error.message, error.hint, error instanceof UsageError ? 2 : 1);
  if (error instanceof pg.DatabaseError) return report(error.message, error.hint ?? adviceFor(error.code));
  // No rights on a file, a full disk, too many open files: the system's own words say it.
  if (error instanceof Error && 'syscall' in error) return report(error.message);
  const defect = report('this is a defect, please report it');
  const trace = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { ...defect, text: `${defect.text}\n${trace}`, hint: trace };
}

/** The report of an error that is told in one line. */
export function report(message: string, hint?: string, exitCode: 1 | 2 = 1): ErrorReport {
  return { text: oneLineOf(message, hint), message, hint, exitCode };
}

/** The line for a message and what to do about it. */
export function oneLineOf(message: string, hint?: string): string {
  const parts = [message, hint].filter((part) => part !== undefined && part !== '') as string[];
  const sentences = parts.map((part) => part.replace(/\s+/g, ' ').trim().replace(/\.$/, ''));
  return `pgembedder: ${sentences.join('. ').replaceAll('?. ', '? ')}`;
}

/** What to do about errors to which PostgreSQL gives no hint of its own. */
function adviceFor(code: string | undefined): string | undefined {
  if (code === '28000')
    return 'The server does not take this user from here: its pg_hba.conf says whom it takes';
  if (code?.startsWith('28')) return 'Check user and password in the database URL';
  if (code === '3D000') return 'Create it with createdb, or name another one in the database URL';
  if (code === '42501') return 'pgembedder doctor says which rights are missing';
  if (code === '25006')
    return 'This is a standby, or default_transaction_read_only is set: give the address of the primary';
  if (code === '57P03') return 'Wait until it is up, then do this again';
  if (code === '57P01' || code === '57P02')
    return 'The server was stopped, or the connection was ended by hand';
  if (code === '53300') return 'Raise max_connections, or connect through a pooler';
  if (code === '53100') return 'The disk of the server is full: make room there';
  if (code === '57014') return 'The statement was cancelled, on purpose or by statement_timeout';
  return undefined;
}

/** An error of a lost or refused connection, as one that names the address and says what to do; any other as it is. */
export function explainConnection(error: unknown, connection: Connection): unknown {
  const refused = explainRefusal(error);
  if (refused) return refused;
  // ENOENT may be about a missing socket or about any other file.
  const ofFile =
    codeOf(error) === 'ENOENT' &&
    !(error instanceof Error && 'syscall' in error && error.syscall === 'connect');
  if (ofFile || !isConnectionError(error)) return error;
  return new UserError(`cannot reach PostgreSQL at ${addressOf(connection)}: ${reasonOf(error)}`, {
    hint: 'Start the server, or give another address by --database-url or DATABASE_URL; --embedded needs no server',
    cause: error,
  });
}

/** Why PostgreSQL or TLS refused a connection, where a person can mend it. */
function explainRefusal(error: unknown): unknown {
  const message = messageOf(error);
  if (error instanceof UserError) return error;
  if (error instanceof pg.DatabaseError) {
    if (error.code === '28000' && /no encryption/.test(message))
      return new UserError(message, {
        hint: 'The server wants SSL: add sslmode=require to the URL',
        cause: error,
      });
    if (/^received invalid response/.test(message))
      return new UserError('what answers there is no PostgreSQL', {
        hint: 'Check host and port',
        cause: error,
      });
    // In the words of the server, which was reached.
    return error;
  }
  if (/does not support SSL/.test(message))
    return new UserError('the server has no SSL', {
      hint: 'Leave sslmode away, or say sslmode=disable',
      cause: error,
    });
  if (/^(ERR_TLS|ERR_SSL|ERR_OSSL|EPROTO|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/.test(codeOf(error)))
    return new UserError(`the server's certificate or encryption is not accepted: ${message}`, {
      hint: 'Give its root certificate by sslrootcert=FILE, or say sslmode=require to encrypt without checking it',
      cause: error,
    });
  if (/^(SASL|Unknown authenticationOk|There was an error establishing an SSL)/.test(message))
    return new UserError(`the server does not let us in: ${message}`, {
      hint: 'pgembedder knows scram-sha-256, md5, password, cert, trust and peer, with the password of this user',
      cause: error,
    });
  return undefined;
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
